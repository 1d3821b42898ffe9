package interop;

import static interop.Main.Scenario;

import java.util.Map;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.protocol.heartbeat.MessageModel;

/** What is particular to the client of 4.9. */
final class Release {
    private Release() {}

    static Map<String, Scenario> scenarios() {
        return Map.of();
    }

    static Map<String, Scenario> restarts() {
        return Map.of();
    }

    static void createTopic(DefaultMQProducer producer, String topic, int queues) throws Exception {
        producer.createTopic("TBW102", topic, queues);
    }

    static void broadcasting(DefaultMQPushConsumer consumer) {
        consumer.setMessageModel(MessageModel.BROADCASTING);
    }
}
