package interop;

import static interop.Main.Scenario;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Every kind of consumer, and what the server filters for it. */
final class Consuming {
    private static final List<String> COLOURS = List.of("red", "green", "blue");

    private Consuming() {}

    static Map<String, Scenario> scenarios() {
        Map<String, Scenario> all = new TreeMap<>();
        all.put("consume: a push consumer gets what is there and what comes", Consuming::push);
        all.put("consume: an orderly consumer gets each queue in order", Consuming::orderly);
        all.put("consume: two orderly members share the queues and keep their order", Consuming::orderlyMembers);
        all.put("consume: a lite pull consumer that subscribes", Consuming::litePull);
        all.put("consume: a lite pull consumer that is assigned queues and seeks", Consuming::assign);
        all.put("consume: a pull consumer is told where it stands", Consuming::pull);
        all.put("consume: a blocking pull waits for a message", Consuming::blockingPull);
        all.put("consume: with broadcasting every member gets everything", Consuming::broadcasting);
        all.put("consume: a subscription to two tags gets only these", Consuming::tags);
        all.put("consume: tags that hash alike are told apart", Consuming::hashCollision);
        for (Selection selection : SELECTIONS) {
            all.put("consume: SQL92 " + selection.expression, scope -> sql(scope, selection));
        }
        all.put("consume: a consumer with wrong SQL92 does not start", Consuming::wrongSql);
        return all;
    }

    private static DefaultMQPushConsumer start(DefaultMQPushConsumer consumer) throws MQClientException {
        consumer.start();
        return consumer;
    }

    private static void push(Scope scope) throws Exception {
        String topic = scope.topic(4);
        DefaultMQProducer producer = scope.producer();
        scope.fill(producer, topic, 50);
        Inbox inbox = scope.receive(topic);
        inbox.take(200);
        scope.fill(producer, topic, 5);
        List<MessageExt> messages = inbox.take(220);
        Check.equal(220L, Inbox.places(messages));
        for (MessageExt message : messages) {
            long expected = message.getQueueOffset() % 50;
            Check.equal(Long.toString(expected), Inbox.body(message));
        }
    }

    private static DefaultMQPushConsumer orderlyMember(Scope scope, String group, String topic, Inbox inbox) throws MQClientException {
        DefaultMQPushConsumer consumer = scope.push(group);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(inbox.orderly());
        return start(consumer);
    }

    private static List<String> numbers(int count) {
        List<String> numbers = new ArrayList<>();
        for (int number = 0; number < count; number++) {
            numbers.add(Integer.toString(number));
        }
        return numbers;
    }

    private static void orderly(Scope scope) throws Exception {
        String topic = scope.topic(4);
        scope.fill(scope.producer(), topic, 100);
        Inbox inbox = new Inbox(scope);
        orderlyMember(scope, Scope.name("orderly"), topic, inbox);
        Map<Integer, List<String>> queues = Inbox.byQueue(inbox.take(400));
        Check.equal(Set.of(0, 1, 2, 3), queues.keySet());
        queues.values().forEach(queue -> Check.equal(numbers(100), queue));
    }

    private static void orderlyMembers(Scope scope) throws Exception {
        String topic = scope.topic(4);
        String group = Scope.name("orderly");
        Inbox one = new Inbox(scope);
        Inbox two = new Inbox(scope);
        DefaultMQPushConsumer first = orderlyMember(scope, group, topic, one);
        DefaultMQPushConsumer second = orderlyMember(scope, group, topic, two);
        Groups.settle(topic, first, second);
        scope.fill(scope.producer(), topic, 100);
        Check.eventually("everything has arrived", () -> one.size() + two.size() >= 400);
        Map<Integer, List<String>> queues = new TreeMap<>(Inbox.byQueue(one.messages()));
        Map<Integer, List<String>> others = Inbox.byQueue(two.messages());
        Check.equal(2, queues.size());
        Check.equal(2, others.size());
        queues.putAll(others);
        Check.equal(4, queues.size());
        queues.values().forEach(queue -> Check.equal(numbers(100), queue));
    }

    private static List<MessageExt> poll(Scope scope, DefaultLitePullConsumer consumer, int count) throws Exception {
        Inbox inbox = new Inbox(scope);
        Check.eventually(count + " messages", () -> {
            if (inbox.size() < count) {
                inbox.add(consumer.poll(500));
            }
            return inbox.size() >= count;
        });
        return inbox.take(count);
    }

    private static void litePull(Scope scope) throws Exception {
        String topic = scope.topic(4);
        String group = Scope.name("lite");
        DefaultMQProducer producer = scope.producer();
        scope.fill(producer, topic, 25);
        DefaultLitePullConsumer consumer = scope.litePull(group);
        consumer.subscribe(topic, "*");
        consumer.setAutoCommit(false);
        consumer.start();
        Check.equal(100L, Inbox.places(poll(scope, consumer, 100)));
        consumer.commitSync();
        consumer.shutdown();
        scope.fill(producer, topic, 5);
        DefaultLitePullConsumer next = scope.litePull(group);
        next.subscribe(topic, "*");
        next.start();
        Check.equal(20L, Inbox.places(poll(scope, next, 20)));
    }

    private static void assign(Scope scope) throws Exception {
        String topic = scope.topic(4);
        DefaultMQProducer producer = scope.producer();
        scope.fill(producer, topic, 20);
        List<MessageQueue> queues = Scope.queues(producer, topic);
        DefaultLitePullConsumer consumer = scope.litePull(Scope.name("assigned"));
        consumer.start();
        Check.equal(4, consumer.fetchMessageQueues(topic).size());
        consumer.assign(queues.subList(1, 3));
        consumer.seek(queues.get(1), 15);
        consumer.seekToBegin(queues.get(2));
        Map<Integer, List<String>> received = Inbox.byQueue(poll(scope, consumer, 25));
        Check.equal(Map.of(1, List.of("15", "16", "17", "18", "19"), 2, numbers(20)), received);
        consumer.seekToEnd(queues.get(1));
        scope.send(producer, Scope.message(topic, "last"), queues.get(1));
        Check.equal(Map.of(1, List.of("last")), Inbox.byQueue(poll(scope, consumer, 1)));
    }

    private static void pull(Scope scope) throws Exception {
        String topic = scope.topic(2);
        DefaultMQProducer producer = scope.producer();
        MessageQueue queue = Scope.queues(producer, topic).get(1);
        DefaultMQPullConsumer consumer = scope.pull(Scope.name("pull"));
        Check.equal(PullStatus.NO_NEW_MSG, consumer.pull(queue, "*", 0, 10).getPullStatus());
        for (int number = 0; number < 10; number++) {
            scope.send(producer, Scope.message(topic, Integer.toString(number)), queue);
        }
        PullResult found = consumer.pull(queue, "*", 3, 4);
        Check.equal(PullStatus.FOUND, found.getPullStatus());
        Check.equal(List.of("3", "4", "5", "6"), Inbox.bodies(found.getMsgFoundList()));
        Check.equal(List.of(0L, 7L, 10L), List.of(found.getMinOffset(), found.getNextBeginOffset(), found.getMaxOffset()));
        scope.received(found.getMsgFoundList());
        PullResult end = consumer.pull(queue, "*", 10, 10);
        Check.equal(PullStatus.NO_NEW_MSG, end.getPullStatus());
        Check.equal(10L, end.getNextBeginOffset());
        PullResult beyond = consumer.pull(queue, "*", 1000, 10);
        Check.equal(PullStatus.OFFSET_ILLEGAL, beyond.getPullStatus());
        Check.equal(10L, beyond.getNextBeginOffset());
        PullResult filtered = consumer.pull(queue, "no-such-tag", 0, 10);
        Check.equal(PullStatus.NO_MATCHED_MSG, filtered.getPullStatus());
        Check.equal(10L, filtered.getNextBeginOffset());
    }

    private static void blockingPull(Scope scope) throws Exception {
        String topic = scope.topic(1);
        DefaultMQProducer producer = scope.producer();
        MessageQueue queue = Scope.queues(producer, topic).get(0);
        DefaultMQPullConsumer consumer = scope.pull(Scope.name("blocking"));
        Thread sender = new Thread(() -> {
            try {
                scope.send(producer, Scope.message(topic, "at last"), queue);
            } catch (Exception failure) {
                throw new IllegalStateException(failure);
            }
        });
        sender.start();
        PullResult result = consumer.pullBlockIfNotFound(queue, "*", 0, 10);
        sender.join();
        Check.equal(PullStatus.FOUND, result.getPullStatus());
        Check.equal(List.of("at last"), Inbox.bodies(result.getMsgFoundList()));
    }

    private static void broadcasting(Scope scope) throws Exception {
        String topic = scope.topic(4);
        String group = Scope.name("broadcasting");
        List<Inbox> inboxes = List.of(new Inbox(scope), new Inbox(scope));
        for (Inbox inbox : inboxes) {
            DefaultMQPushConsumer consumer = scope.push(group);
            Release.broadcasting(consumer);
            consumer.subscribe(topic, "*");
            consumer.registerMessageListener(inbox.concurrently());
            consumer.start();
        }
        scope.fill(scope.producer(), topic, 10);
        for (Inbox inbox : inboxes) {
            Check.equal(40L, Inbox.places(inbox.take(40)));
        }
    }

    /** Ten messages of each colour, with the tag and the properties `colour`, `number` 0 to 9, and `odd` for odd numbers only. */
    private static String coloured(Scope scope) throws Exception {
        String topic = scope.topic(2);
        DefaultMQProducer producer = scope.producer();
        for (int number = 0; number < 10; number++) {
            for (String colour : COLOURS) {
                Message message = Scope.message(topic, colour + number);
                message.setTags(colour);
                message.putUserProperty("colour", colour);
                message.putUserProperty("number", Integer.toString(number));
                if (number % 2 == 1) {
                    message.putUserProperty("odd", "yes");
                }
                scope.send(producer, message);
            }
        }
        return topic;
    }

    private static void tags(Scope scope) throws Exception {
        String topic = coloured(scope);
        Inbox inbox = new Inbox(scope);
        DefaultMQPushConsumer consumer = scope.push(Scope.name("tags"));
        consumer.subscribe(topic, "red || blue");
        consumer.registerMessageListener(inbox.concurrently());
        consumer.start();
        List<MessageExt> messages = inbox.take(20);
        Check.equal(Set.of("red", "blue"), Set.copyOf(messages.stream().map(MessageExt::getTags).toList()));
        Check.equal(20L, Inbox.places(messages));
    }

    private static void hashCollision(Scope scope) throws Exception {
        String topic = scope.topic(1);
        DefaultMQProducer producer = scope.producer();
        Check.equal("Aa".hashCode(), "BB".hashCode());
        for (String tag : List.of("Aa", "BB", "other", "Aa")) {
            Message message = Scope.message(topic, tag);
            message.setTags(tag);
            scope.send(producer, message);
        }
        Inbox inbox = new Inbox(scope);
        DefaultMQPushConsumer consumer = scope.push(Scope.name("collision"));
        consumer.subscribe(topic, "Aa");
        consumer.registerMessageListener(inbox.concurrently());
        consumer.start();
        Check.equal(List.of("Aa", "Aa"), Inbox.bodies(inbox.take(2)));
    }

    /** An expression and how many of the coloured messages it keeps. */
    private record Selection(String expression, int kept) {}

    private static final List<Selection> SELECTIONS = List.of(
            new Selection("colour = 'red' AND number > 6", 3),
            new Selection("number BETWEEN 2 AND 4 OR colour IN ('green', 'black')", 16),
            new Selection("odd IS NULL", 15),
            new Selection("NOT (odd = 'yes')", 0),
            new Selection("TAGS <> 'blue' AND odd IS NOT NULL AND number <= 3", 4));

    private static void sql(Scope scope, Selection selection) throws Exception {
        String topic = coloured(scope);
        Inbox inbox = new Inbox(scope);
        DefaultMQPushConsumer consumer = scope.push(Scope.name("sql"));
        consumer.subscribe(topic, MessageSelector.bySql("(" + selection.expression + ") OR last = TRUE"));
        consumer.registerMessageListener(inbox.concurrently());
        consumer.start();
        DefaultMQProducer producer = scope.producer();
        for (MessageQueue queue : Scope.queues(producer, topic)) {
            Message last = Scope.message(topic, "last");
            last.putUserProperty("last", "true");
            scope.send(producer, last, queue);
        }
        // The server has filtered everything before the last message of each queue; several threads deliver it.
        Check.eventually("the last messages", () -> Inbox.bodies(inbox.messages()).stream().filter("last"::equals).count() == 2);
        inbox.take(selection.kept + 2);
    }

    private static void wrongSql(Scope scope) throws Exception {
        String topic = scope.topic(1);
        DefaultMQPushConsumer consumer = scope.push(Scope.name("wrong"));
        consumer.subscribe(topic, MessageSelector.bySql("colour = = 3"));
        consumer.registerMessageListener(new Inbox(scope).concurrently());
        Check.fails(MQClientException.class, () -> start(consumer));
    }
}
