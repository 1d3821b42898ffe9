package interop;

import static interop.Main.Scenario;

import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.compression.CompressionType;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.protocol.heartbeat.MessageModel;

/** What is particular to the client of 5.x. */
final class Release {
    private Release() {}

    static Map<String, Scenario> scenarios() {
        Map<String, Scenario> all = new TreeMap<>();
        for (CompressionType type : CompressionType.values()) {
            all.put("send: a body compressed with " + type + " arrives as it was", scope -> compressed(scope, type));
        }
        all.put("send: messages with a delay or a time arrive then", Release::delayed);
        all.put("send: a delayed message is recalled", Release::recalled);
        all.put("send: messages that the client batches by itself arrive", Release::automaticBatches);
        all.putAll(Popping.scenarios());
        return all;
    }

    static Map<String, Scenario> restarts() {
        return Popping.restarts();
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
        Check.equal(Inbox.bodies(scope.receive(topic).take(2)), List.of(body, "short"));
    }

    private static void delayed(Scope scope) throws Exception {
        String topic = scope.topic(1);
        DefaultMQProducer producer = scope.producer();
        long before = System.currentTimeMillis();
        Message seconds = Scope.message(topic, "3000");
        seconds.setDelayTimeSec(3);
        Message milliseconds = Scope.message(topic, "1500");
        milliseconds.setDelayTimeMs(1500);
        Message at = Scope.message(topic, "4500");
        at.setDeliverTimeMs(before + 4500);
        for (Message message : List.of(at, seconds, milliseconds)) {
            Check.equal(SendStatus.SEND_OK, producer.send(message).getSendStatus());
        }
        Inbox inbox = scope.receive(topic);
        Check.eventually("all messages", () -> inbox.size() == 3);
        for (MessageExt message : inbox.messages()) {
            Check.that(System.currentTimeMillis() >= before + Long.parseLong(Inbox.body(message)), "it is not early");
            Check.that(message.getStoreTimestamp() >= before + Long.parseLong(Inbox.body(message)), "it is stored when it is due");
        }
    }

    private static void recalled(Scope scope) throws Exception {
        String topic = scope.topic(1);
        DefaultMQProducer producer = scope.producer();
        Message recalled = Scope.message(topic, "recalled");
        recalled.setDelayTimeSec(20);
        SendResult result = producer.send(recalled);
        Check.equal(result.getMsgId(), producer.recallMessage(topic, result.getRecallHandle()));
        Message kept = Scope.message(topic, "kept");
        kept.setDelayTimeSec(1);
        producer.send(kept);
        Check.equal(List.of("kept"), Inbox.bodies(scope.receive(topic).take(1)));
        try {
            producer.recallMessage(topic, "not a handle");
            throw new AssertionError("a handle that is none is refused");
        } catch (org.apache.rocketmq.client.exception.MQClientException refused) {
            Check.that(refused.getMessage() != null, "it says why");
        }
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
