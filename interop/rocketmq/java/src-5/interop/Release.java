package interop;

import static interop.Main.Scenario;

import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.compression.CompressionType;
import org.apache.rocketmq.remoting.protocol.heartbeat.MessageModel;

/** What is particular to the client of 5.x. */
final class Release {
    private Release() {}

    static Map<String, Scenario> scenarios() {
        Map<String, Scenario> all = new TreeMap<>();
        for (CompressionType type : CompressionType.values()) {
            all.put("send: a body compressed with " + type + " arrives as it was", scope -> compressed(scope, type));
        }
        all.put("send: messages that the client batches by itself arrive", Release::automaticBatches);
        return all;
    }

    static void createTopic(DefaultMQProducer producer, String topic, int queues) throws Exception {
        producer.createTopic("TBW102", topic, queues, Map.of());
    }

    static void broadcasting(DefaultMQPushConsumer consumer) {
        consumer.setMessageModel(MessageModel.BROADCASTING);
    }

    private static void compressed(Scope scope, CompressionType type) throws Exception {
        String topic = scope.topic(1);
        DefaultMQProducer producer = scope.producer();
        producer.setCompressType(type);
        String body = type + " is good at this. ".repeat(5000);
        scope.send(producer, Scope.message(topic, body));
        scope.send(producer, Scope.message(topic, "short"));
        Check.equal(Inbox.bodies(scope.receive(topic).take(2)), java.util.List.of(body, "short"));
    }

    private static void automaticBatches(Scope scope) throws Exception {
        String topic = scope.topic(1);
        DefaultMQProducer producer = scope.producer();
        producer.setAutoBatch(true);
        for (int number = 0; number < 10; number++) {
            producer.send(Scope.message(topic, Integer.toString(number)));
        }
        scope.receive(topic).take(10);
    }
}
