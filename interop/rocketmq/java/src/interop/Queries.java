package interop;

import static interop.Main.Scenario;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.client.QueryResult;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Finding messages by their ids and keys. */
final class Queries {
    private static final long HOUR_MS = 3_600_000;

    private Queries() {}

    static Map<String, Scenario> scenarios() {
        Map<String, Scenario> all = new TreeMap<>();
        all.put("query: by offset id and by unique key", Queries::byId);
        all.put("query: by each of a message's keys", Queries::byEachKey);
        all.put("query: a time range without the message finds nothing", Queries::byTime);
        all.put("query: what is not there is not found", Queries::missing);
        return all;
    }

    /** Finds nothing where the server says that nothing was found. */
    static List<MessageExt> byKey(DefaultMQProducer producer, String topic, String key, long from, long to) throws Exception {
        try {
            QueryResult result = producer.queryMessage(topic, key, 32, from, to);
            return result.getMessageList();
        } catch (MQClientException notFound) {
            return List.of();
        }
    }

    static List<MessageExt> byKey(DefaultMQProducer producer, String topic, String key) throws Exception {
        long now = System.currentTimeMillis();
        return byKey(producer, topic, key, now - HOUR_MS, now + HOUR_MS);
    }

    /** Nothing where the server says that it has no such message. */
    private static MessageExt found(DefaultMQProducer producer, String topic, String id) throws Exception {
        try {
            return producer.viewMessage(topic, id);
        } catch (MQClientException notFound) {
            return null;
        }
    }

    private static void byId(Scope scope) throws Exception {
        String topic = scope.topic(2);
        DefaultMQProducer producer = scope.producer();
        scope.fill(producer, topic, 3);
        SendResult result = scope.send(producer, Scope.message(topic, "looked for"));
        scope.fill(producer, topic, 3);
        MessageExt byOffsetId = producer.viewMessage(topic, result.getOffsetMsgId());
        Check.equal("looked for", Inbox.body(byOffsetId));
        Check.equal(result.getQueueOffset(), byOffsetId.getQueueOffset());
        Check.equal(result.getMsgId(), byOffsetId.getProperty("UNIQ_KEY"));
        Check.eventually("the unique key is known", () -> {
            MessageExt byKey = found(producer, topic, result.getMsgId());
            return byKey != null && Inbox.body(byKey).equals("looked for") && byKey.getQueueId() == result.getMessageQueue().getQueueId();
        });
        scope.received(List.of(byOffsetId));
    }

    private static void byEachKey(Scope scope) throws Exception {
        String topic = scope.topic(2);
        DefaultMQProducer producer = scope.producer();
        for (int number = 0; number < 5; number++) {
            byte[] body = Integer.toString(number).getBytes(StandardCharsets.UTF_8);
            scope.send(producer, new Message(topic, "tag", "own" + number + " all", body));
        }
        Check.eventually("the common key finds all", () -> Inbox.bodies(byKey(producer, topic, "all")).equals(List.of("0", "1", "2", "3", "4")));
        Check.equal(List.of("3"), Inbox.bodies(byKey(producer, topic, "own3")));
    }

    private static void byTime(Scope scope) throws Exception {
        String topic = scope.topic(1);
        DefaultMQProducer producer = scope.producer();
        scope.send(producer, new Message(topic, "tag", "key", "now".getBytes(StandardCharsets.UTF_8)));
        Check.eventually("the key is known", () -> byKey(producer, topic, "key").size() == 1);
        long now = System.currentTimeMillis();
        Check.equal(List.of(), byKey(producer, topic, "key", now - 2 * HOUR_MS, now - HOUR_MS));
        Check.equal(List.of(), byKey(producer, topic, "key", now + HOUR_MS, now + 2 * HOUR_MS));
    }

    private static void missing(Scope scope) throws Exception {
        String topic = scope.topic(1);
        DefaultMQProducer producer = scope.producer();
        SendResult result = scope.send(producer, Scope.message(topic, "here"));
        Check.equal(List.of(), byKey(producer, topic, "nobody"));
        String addressOnly = result.getOffsetMsgId().substring(0, 16);
        Check.equal(null, found(producer, topic, addressOnly + "00000000FFFFFFFF"));
    }
}
