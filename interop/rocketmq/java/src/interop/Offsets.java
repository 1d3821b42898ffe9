package interop;

import static interop.Main.Scenario;

import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageQueue;

/** Where queues begin and end, and where groups stand. */
final class Offsets {
    private Offsets() {}

    static Map<String, Scenario> scenarios() {
        Map<String, Scenario> all = new TreeMap<>();
        all.put("offsets: a consumer reads on where its group stopped", Offsets::resume);
        all.put("offsets: a queue's ends are known", Offsets::ends);
        all.put("offsets: the first message after a time is found", Offsets::byTime);
        all.put("offsets: what a pull consumer stores is found again", Offsets::stored);
        all.put("offsets: a group that begins at the end gets what comes later", Offsets::fromLast);
        return all;
    }

    private static Inbox consume(Scope scope, String group, String topic, DefaultMQPushConsumer consumer) throws Exception {
        Inbox inbox = new Inbox(scope);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(inbox.concurrently());
        consumer.start();
        return inbox;
    }

    private static void resume(Scope scope) throws Exception {
        String topic = scope.topic(4);
        String group = Scope.name("resume");
        DefaultMQProducer producer = scope.producer();
        for (int round = 0; round < 3; round++) {
            scope.fill(producer, topic, 10);
            DefaultMQPushConsumer consumer = scope.push(group);
            Check.equal(40L, Inbox.places(consume(scope, group, topic, consumer).take(40)));
            consumer.shutdown();
        }
    }

    private static void ends(Scope scope) throws Exception {
        String topic = scope.topic(2);
        DefaultMQProducer producer = scope.producer();
        List<MessageQueue> queues = Scope.queues(producer, topic);
        long before = System.currentTimeMillis();
        for (int number = 0; number < 7; number++) {
            scope.send(producer, Scope.message(topic, Integer.toString(number)), queues.get(0));
        }
        DefaultMQPullConsumer consumer = scope.pull(Scope.name("ends"));
        Check.equal(7L, consumer.maxOffset(queues.get(0)));
        Check.equal(0L, consumer.minOffset(queues.get(0)));
        Check.equal(0L, consumer.maxOffset(queues.get(1)));
        Check.equal(0L, consumer.minOffset(queues.get(1)));
        long earliest = consumer.earliestMsgStoreTime(queues.get(0));
        Check.that(earliest >= before && earliest <= System.currentTimeMillis(), "the earliest message is of now");
    }

    private static void byTime(Scope scope) throws Exception {
        String topic = scope.topic(1);
        DefaultMQProducer producer = scope.producer();
        MessageQueue queue = Scope.queues(producer, topic).get(0);
        scope.fill(producer, topic, 5);
        long last = System.currentTimeMillis();
        Check.eventually("a later millisecond", () -> System.currentTimeMillis() > last + 1);
        long later = System.currentTimeMillis();
        scope.fill(producer, topic, 5);
        DefaultMQPullConsumer consumer = scope.pull(Scope.name("times"));
        Check.eventually("the sixth message is the first after the pause", () -> consumer.searchOffset(queue, later) == 5);
        Check.equal(0L, consumer.searchOffset(queue, later - 3_600_000));
    }

    private static void stored(Scope scope) throws Exception {
        String topic = scope.topic(2);
        String group = Scope.name("stored");
        DefaultMQProducer producer = scope.producer();
        scope.fill(producer, topic, 10);
        MessageQueue queue = Scope.queues(producer, topic).get(1);
        DefaultMQPullConsumer consumer = scope.pull(group);
        Check.equal(PullStatus.FOUND, consumer.pull(queue, "*", 0, 5).getPullStatus());
        consumer.updateConsumeOffset(queue, 5);
        consumer.getDefaultMQPullConsumerImpl().getOffsetStore().persist(queue);
        consumer.shutdown();
        DefaultMQPullConsumer next = scope.pull(group);
        Check.eventually("the stored offset", () -> next.fetchConsumeOffset(queue, true) == 5);
    }

    private static void fromLast(Scope scope) throws Exception {
        String topic = scope.topic(2);
        String group = Scope.name("last");
        DefaultMQProducer producer = scope.producer();
        scope.fill(producer, topic, 10);
        DefaultMQPullConsumer pull = scope.pull(group);
        for (MessageQueue queue : Scope.queues(producer, topic)) {
            // A pull makes the group known.
            Check.equal(PullStatus.FOUND, pull.pull(queue, "*", 0, 5).getPullStatus());
            pull.updateConsumeOffset(queue, 10);
            pull.getDefaultMQPullConsumerImpl().getOffsetStore().persist(queue);
            Check.eventually("the stored offset", () -> pull.fetchConsumeOffset(queue, true) == 10);
        }
        pull.shutdown();
        DefaultMQPushConsumer consumer = scope.push(group);
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET);
        Inbox inbox = consume(scope, group, topic, consumer);
        scope.fill(producer, topic, 3);
        inbox.take(6).forEach(message -> Check.that(message.getQueueOffset() >= 10, "a message from behind the stored offset"));
    }
}
