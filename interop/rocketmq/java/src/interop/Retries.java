package interop;

import static interop.Main.Scenario;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** What happens to messages that a consumer could not deal with. */
final class Retries {
    /** One second, the shortest delay. */
    private static final int SHORTEST_DELAY = 1;

    private Retries() {}

    static Map<String, Scenario> scenarios() {
        Map<String, Scenario> all = new TreeMap<>();
        all.put("retries: a message that failed comes again", Retries::again);
        all.put("retries: a message that always fails ends in the dead letter queue", Retries::deadLetter);
        all.put("retries: a message that is sent back by hand comes again", Retries::sentBack);
        all.put("retries: an orderly consumer repeats a message before the next", Retries::orderly);
        return all;
    }

    private static void again(Scope scope) throws Exception {
        String topic = scope.topic(2);
        scope.fill(scope.producer(), topic, 5);
        Inbox inbox = new Inbox(scope);
        DefaultMQPushConsumer consumer = scope.push(Scope.name("again"));
        consumer.subscribe(topic, "*");
        MessageListenerConcurrently listener = (messages, context) -> {
            inbox.add(messages);
            context.setDelayLevelWhenNextConsume(SHORTEST_DELAY);
            boolean fails = messages.get(0).getReconsumeTimes() == 0 && Inbox.body(messages.get(0)).equals("3");
            return fails ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        };
        consumer.registerMessageListener(listener);
        consumer.start();
        List<MessageExt> messages = inbox.take(12);
        Map<String, List<MessageExt>> retried = new TreeMap<>();
        messages.stream().filter(message -> Inbox.body(message).equals("3"))
                .forEach(message -> retried.computeIfAbsent(message.getMsgId(), any -> new ArrayList<>()).add(message));
        Check.equal(2, retried.size());
        for (List<MessageExt> pair : retried.values()) {
            Check.equal(List.of(0, 1), pair.stream().map(MessageExt::getReconsumeTimes).toList());
            Check.equal(List.of(topic, topic), pair.stream().map(MessageExt::getTopic).toList());
        }
    }

    private static void deadLetter(Scope scope) throws Exception {
        String topic = scope.topic(1);
        String group = Scope.name("dead");
        scope.fill(scope.producer(), topic, 1);
        Inbox inbox = new Inbox(scope);
        DefaultMQPushConsumer consumer = scope.push(group);
        consumer.setMaxReconsumeTimes(2);
        consumer.subscribe(topic, "*");
        MessageListenerConcurrently listener = (messages, context) -> {
            inbox.add(messages);
            context.setDelayLevelWhenNextConsume(SHORTEST_DELAY);
            return ConsumeConcurrentlyStatus.RECONSUME_LATER;
        };
        consumer.registerMessageListener(listener);
        consumer.start();
        DefaultMQPullConsumer reader = scope.pull(Scope.name("dead-letters"));
        List<MessageExt> dead = new ArrayList<>();
        Check.eventually("a dead letter", () -> {
            if (inbox.size() < 3) {
                return false;
            }
            try {
                MessageQueue queue = reader.fetchSubscribeMessageQueues("%DLQ%" + group).iterator().next();
                PullResult result = reader.pull(queue, "*", 0, 10);
                return result.getPullStatus() == PullStatus.FOUND && dead.addAll(result.getMsgFoundList());
            } catch (MQClientException notYet) {
                return false;
            }
        });
        Check.equal(List.of("0"), Inbox.bodies(dead));
        Check.equal(List.of(0, 1, 2), inbox.take(3).stream().map(MessageExt::getReconsumeTimes).toList());
    }

    private static void sentBack(Scope scope) throws Exception {
        String topic = scope.topic(1);
        scope.fill(scope.producer(), topic, 3);
        Inbox inbox = new Inbox(scope);
        DefaultMQPushConsumer consumer = scope.push(Scope.name("back"));
        consumer.subscribe(topic, "*");
        MessageListenerConcurrently listener = (messages, context) -> {
            for (MessageExt message : messages) {
                if (message.getReconsumeTimes() == 0) {
                    try {
                        consumer.sendMessageBack(message, SHORTEST_DELAY);
                    } catch (Exception failure) {
                        throw new IllegalStateException(failure);
                    }
                }
            }
            inbox.add(messages);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        };
        consumer.registerMessageListener(listener);
        consumer.start();
        List<MessageExt> messages = inbox.take(6);
        Check.equal(List.of("0", "0", "1", "1", "2", "2"), Inbox.bodies(messages));
        Check.equal(3L, messages.stream().filter(message -> message.getReconsumeTimes() == 1).count());
    }

    private static void orderly(Scope scope) throws Exception {
        String topic = scope.topic(1);
        scope.fill(scope.producer(), topic, 5);
        Inbox inbox = new Inbox(scope);
        Set<String> failed = ConcurrentHashMap.newKeySet();
        DefaultMQPushConsumer consumer = scope.push(Scope.name("repeat"));
        consumer.setSuspendCurrentQueueTimeMillis(100);
        consumer.subscribe(topic, "*");
        MessageListenerOrderly listener = (messages, context) -> {
            inbox.add(messages);
            boolean first = failed.add(Inbox.body(messages.get(0)));
            return first ? ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT : ConsumeOrderlyStatus.SUCCESS;
        };
        consumer.registerMessageListener(listener);
        consumer.start();
        List<String> bodies = inbox.take(10).stream().map(Inbox::body).toList();
        Check.equal(List.of("0", "0", "1", "1", "2", "2", "3", "3", "4", "4"), bodies);
    }
}
