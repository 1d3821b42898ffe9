package interop;

import static interop.Main.Scenario;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.rocketmq.client.consumer.AckCallback;
import org.apache.rocketmq.client.consumer.AckResult;
import org.apache.rocketmq.client.consumer.AckStatus;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PopCallback;
import org.apache.rocketmq.client.consumer.PopResult;
import org.apache.rocketmq.client.consumer.PopStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.impl.factory.MQClientInstance;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageRequestMode;
import org.apache.rocketmq.remoting.protocol.header.AckMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.ChangeInvisibleTimeRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.ExtraInfoUtil;
import org.apache.rocketmq.remoting.protocol.header.PopMessageRequestHeader;

/**
 * POP: push consumers that somebody has set to it, and the calls by themselves. (A push consumer with an orderly listener receives
 * nothing by POP from any server: the client of 5.5 has no code for it.)
 */
final class Popping {
    private static final long CALL_MS = 10_000;
    private static final long POLL_MS = 15_000;
    /** Longer than a scenario takes. */
    private static final long LONG_MS = 120_000;
    /** So short that it is over soon. */
    private static final long SHORT_MS = 3_000;

    private Popping() {}

    static Map<String, Scenario> scenarios() {
        Map<String, Scenario> all = new TreeMap<>();
        all.put("pop: more push consumers than queues share the messages", Popping::shared);
        all.put("pop: a message that failed comes again", Popping::again);
        all.put("pop: a message is hidden until it is acknowledged or its time is over", Popping::hidden);
        all.put("pop: messages are acknowledged together", Popping::together);
        all.put("pop: a time that is changed counts from then on", Popping::changed);
        all.put("pop: in order, a queue goes on when all of it is acknowledged", Popping::ordered);
        all.put("pop: what a consumer that died had popped comes to another", Popping::died);
        return all;
    }

    static Map<String, Scenario> restarts() {
        return Map.of(
                "restart: push consumers by POP get what a producer sends, interrupted by kill -9",
                scope -> interrupted(scope));
    }

    /** The calls of POP, to the broker of one topic. */
    private static final class Broker {
        private final MQClientInstance client;
        private final String name;
        private final String address;

        /** Of a connection of its own. */
        Broker(Scope scope, String topic) throws Exception {
            DefaultMQProducer producer = scope.producer();
            name = Scope.queues(producer, topic).get(0).getBrokerName();
            client = producer.getDefaultMQProducerImpl().getMqClientFactory();
            client.updateTopicRouteInfoFromNameServer(topic);
            address = client.findBrokerAddressInPublish(name);
            Check.that(address != null, "the broker has an address");
        }

        void setMode(String topic, String group) throws Exception {
            client.getMQClientAPIImpl().setMessageRequestMode(address, topic, group, MessageRequestMode.POP, 0, CALL_MS);
        }

        static PopMessageRequestHeader request(String topic, String group, int count, long hidden) {
            PopMessageRequestHeader header = new PopMessageRequestHeader();
            header.setTopic(topic);
            header.setConsumerGroup(group);
            header.setQueueId(-1);
            header.setMaxMsgNums(count);
            header.setInvisibleTime(hidden);
            header.setPollTime(POLL_MS);
            header.setInitMode(0);
            header.setExpType("TAG");
            header.setExp("*");
            return header;
        }

        PopResult pop(PopMessageRequestHeader header) throws Exception {
            CompletableFuture<PopResult> result = new CompletableFuture<>();
            header.setBornTime(System.currentTimeMillis());
            client.getMQClientAPIImpl().popMessageAsync(name, address, header, POLL_MS + CALL_MS, new PopCallback() {
                @Override
                public void onSuccess(PopResult popped) {
                    result.complete(popped);
                }

                @Override
                public void onException(Throwable failure) {
                    result.completeExceptionally(failure);
                }
            });
            return result.get(POLL_MS + 2 * CALL_MS, TimeUnit.MILLISECONDS);
        }

        /** Pops until there is something. */
        List<MessageExt> take(PopMessageRequestHeader header) throws Exception {
            List<MessageExt> taken = new ArrayList<>();
            Check.eventually("messages", () -> {
                PopResult result = pop(header);
                return result.getPopStatus() == PopStatus.FOUND && taken.addAll(result.getMsgFoundList());
            });
            return taken;
        }

        AckStatus acknowledge(String group, MessageExt message) throws Exception {
            String[] checkpoint = ExtraInfoUtil.split(message.getProperty(MessageConst.PROPERTY_POP_CK));
            AckMessageRequestHeader header = new AckMessageRequestHeader();
            header.setTopic(ExtraInfoUtil.getRealTopic(checkpoint, message.getTopic(), group));
            header.setConsumerGroup(group);
            header.setQueueId(ExtraInfoUtil.getQueueId(checkpoint));
            header.setOffset(ExtraInfoUtil.getQueueOffset(checkpoint));
            header.setExtraInfo(message.getProperty(MessageConst.PROPERTY_POP_CK));
            Outcome outcome = new Outcome();
            client.getMQClientAPIImpl().ackMessageAsync(address, CALL_MS, outcome, header);
            return outcome.get().getStatus();
        }

        AckStatus acknowledge(String topic, String group, List<MessageExt> messages) throws Exception {
            Outcome outcome = new Outcome();
            List<String> checkpoints = messages.stream().map(message -> message.getProperty(MessageConst.PROPERTY_POP_CK)).toList();
            client.getMQClientAPIImpl().batchAckMessageAsync(address, CALL_MS, outcome, topic, group, checkpoints);
            return outcome.get().getStatus();
        }

        AckResult hide(String group, MessageExt message, long hidden) throws Exception {
            String[] checkpoint = ExtraInfoUtil.split(message.getProperty(MessageConst.PROPERTY_POP_CK));
            ChangeInvisibleTimeRequestHeader header = new ChangeInvisibleTimeRequestHeader();
            header.setTopic(ExtraInfoUtil.getRealTopic(checkpoint, message.getTopic(), group));
            header.setConsumerGroup(group);
            header.setQueueId(ExtraInfoUtil.getQueueId(checkpoint));
            header.setOffset(ExtraInfoUtil.getQueueOffset(checkpoint));
            header.setExtraInfo(message.getProperty(MessageConst.PROPERTY_POP_CK));
            header.setInvisibleTime(hidden);
            Outcome outcome = new Outcome();
            client.getMQClientAPIImpl().changeInvisibleTimeAsync(name, address, header, CALL_MS, outcome);
            return outcome.get();
        }
    }

    private static final class Outcome implements AckCallback {
        private final CompletableFuture<AckResult> result = new CompletableFuture<>();

        @Override
        public void onSuccess(AckResult acknowledged) {
            result.complete(acknowledged);
        }

        @Override
        public void onException(Throwable failure) {
            result.completeExceptionally(failure);
        }

        AckResult get() throws Exception {
            return result.get(2 * CALL_MS, TimeUnit.MILLISECONDS);
        }
    }

    private static DefaultMQPushConsumer consumer(Scope scope, String topic, String group, MessageListenerConcurrently listener)
            throws Exception {
        DefaultMQPushConsumer consumer = scope.push(group);
        consumer.setClientRebalance(false);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(listener);
        consumer.start();
        return consumer;
    }

    private static void shared(Scope scope) throws Exception {
        String topic = scope.topic(2);
        String group = Scope.name("pop");
        new Broker(scope, topic).setMode(topic, group);
        Inbox inbox = new Inbox(scope);
        for (int number = 0; number < 4; number++) {
            consumer(scope, topic, group, inbox.concurrently());
        }
        scope.fill(scope.producer(), topic, 50);
        Check.equal(100L, Inbox.places(inbox.take(100)));
    }

    private static void again(Scope scope) throws Exception {
        String topic = scope.topic(2);
        String group = Scope.name("pop");
        new Broker(scope, topic).setMode(topic, group);
        scope.fill(scope.producer(), topic, 5);
        Inbox inbox = new Inbox(scope);
        consumer(scope, topic, group, (messages, context) -> {
            inbox.add(messages);
            boolean fails = messages.get(0).getReconsumeTimes() == 0 && Inbox.body(messages.get(0)).equals("3");
            return fails ? ConsumeConcurrentlyStatus.RECONSUME_LATER : ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        List<MessageExt> messages = inbox.take(12);
        List<MessageExt> retried = messages.stream().filter(message -> Inbox.body(message).equals("3")).toList();
        Check.equal(List.of(0, 0, 1, 1), retried.stream().map(MessageExt::getReconsumeTimes).sorted().toList());
        Check.equal(1L, retried.stream().map(MessageExt::getTopic).distinct().count());
    }

    private static void hidden(Scope scope) throws Exception {
        String topic = scope.topic(1);
        String group = Scope.name("pop");
        Broker one = new Broker(scope, topic);
        Broker two = new Broker(scope, topic);
        scope.fill(scope.producer(), topic, 2);
        List<MessageExt> first = one.take(Broker.request(topic, group, 1, SHORT_MS));
        List<MessageExt> second = two.take(Broker.request(topic, group, 1, LONG_MS));
        Check.equal(List.of("0"), Inbox.bodies(first));
        Check.equal(List.of("1"), Inbox.bodies(second));
        Check.equal(AckStatus.OK, two.acknowledge(group, second.get(0)));
        List<MessageExt> again = two.take(Broker.request(topic, group, 32, LONG_MS));
        Check.equal(List.of("0"), Inbox.bodies(again));
        Check.equal(1, again.get(0).getReconsumeTimes());
        // An expired acknowledgement does no harm: what it says of an earlier delivery is not said of this one.
        one.acknowledge(group, first.get(0));
        Check.equal(AckStatus.OK, two.acknowledge(group, again.get(0)));
    }

    private static void together(Scope scope) throws Exception {
        String topic = scope.topic(1);
        String group = Scope.name("pop");
        Broker broker = new Broker(scope, topic);
        scope.fill(scope.producer(), topic, 6);
        List<MessageExt> all = broker.take(Broker.request(topic, group, 6, SHORT_MS));
        Check.equal(6, all.size());
        List<MessageExt> some = List.of(all.get(0), all.get(2), all.get(3), all.get(5));
        Check.equal(AckStatus.OK, broker.acknowledge(topic, group, some));
        List<MessageExt> rest = new ArrayList<>();
        Check.eventually("the rest comes again", () -> {
            rest.addAll(broker.take(Broker.request(topic, group, 32, LONG_MS)));
            return rest.size() >= 2;
        });
        Check.equal(List.of("1", "4"), Inbox.bodies(rest));
    }

    private static void changed(Scope scope) throws Exception {
        String topic = scope.topic(1);
        String group = Scope.name("pop");
        Broker broker = new Broker(scope, topic);
        scope.fill(scope.producer(), topic, 1);
        MessageExt popped = broker.take(Broker.request(topic, group, 1, LONG_MS)).get(0);
        AckResult changed = broker.hide(group, popped, LONG_MS);
        Check.equal(AckStatus.OK, changed.getStatus());
        popped.getProperties().put(MessageConst.PROPERTY_POP_CK, changed.getExtraInfo());
        Check.equal(AckStatus.OK, broker.hide(group, popped, SHORT_MS).getStatus());
        MessageExt again = broker.take(Broker.request(topic, group, 1, LONG_MS)).get(0);
        Check.equal(1, again.getReconsumeTimes());
        Check.equal(AckStatus.OK, broker.acknowledge(group, again));
    }

    private static void ordered(Scope scope) throws Exception {
        String topic = scope.topic(1);
        String group = Scope.name("pop");
        Broker broker = new Broker(scope, topic);
        scope.fill(scope.producer(), topic, 4);
        PopMessageRequestHeader request = Broker.request(topic, group, 2, LONG_MS);
        request.setOrder(true);
        request.setAttemptId("one");
        List<MessageExt> first = broker.take(request);
        Check.equal(List.of("0", "1"), first.stream().map(Inbox::body).toList());
        List<MessageExt> repeated = broker.take(request);
        Check.equal(List.of("0", "1"), repeated.stream().map(Inbox::body).toList());
        PopMessageRequestHeader other = Broker.request(topic, group, 2, LONG_MS);
        other.setOrder(true);
        other.setAttemptId("two");
        other.setPollTime(100);
        Check.that(broker.pop(other).getPopStatus() != PopStatus.FOUND, "the queue waits for what was popped");
        for (MessageExt message : repeated) {
            Check.equal(AckStatus.OK, broker.acknowledge(group, message));
        }
        other.setPollTime(POLL_MS);
        Check.equal(List.of("2", "3"), broker.take(other).stream().map(Inbox::body).toList());
    }

    private static void died(Scope scope) throws Exception {
        String topic = scope.topic(2);
        String group = Scope.name("pop");
        scope.fill(scope.producer(), topic, 10);
        Set<String> dead = ConcurrentHashMap.newKeySet();
        try (Scope dying = new Scope(scope.server)) {
            Broker broker = new Broker(dying, topic);
            for (MessageExt message : broker.take(Broker.request(topic, group, 8, SHORT_MS))) {
                dead.add(message.getQueueId() + "@" + message.getQueueOffset());
            }
        }
        Check.that(!dead.isEmpty(), "something was popped");
        new Broker(scope, topic).setMode(topic, group);
        Inbox inbox = new Inbox(scope);
        consumer(scope, topic, group, inbox.concurrently());
        Check.equal(20L, Inbox.places(inbox.take(20)));
    }

    /** Nothing that was acknowledged to the producer is lost, whatever of it was popped when the server was killed. */
    private static void interrupted(Scope scope) throws Exception {
        String topic = scope.topic(4);
        String group = Scope.name("pop");
        new Broker(scope, topic).setMode(topic, group);
        Inbox inbox = new Inbox(scope);
        for (int number = 0; number < 2; number++) {
            DefaultMQPushConsumer consumer = scope.push(group);
            consumer.setClientRebalance(false);
            // What was popped and not acknowledged comes again soon after.
            consumer.setPopInvisibleTime(5_000);
            consumer.subscribe(topic, "*");
            consumer.registerMessageListener(inbox.concurrently());
            consumer.start();
        }
        Set<String> acknowledged = ConcurrentHashMap.newKeySet();
        AtomicBoolean enough = new AtomicBoolean();
        Thread sender = Restarts.sender(scope, topic, acknowledged, enough);
        Check.eventually("the producer is at work", () -> acknowledged.size() >= Restarts.BEFORE);
        Check.eventually("the consumers are at work", () -> inbox.size() > 0);
        scope.server.killAndStart();
        int then = acknowledged.size();
        Check.eventually("the producer goes on", () -> acknowledged.size() >= then + Restarts.AFTER);
        enough.set(true);
        sender.join();
        Check.eventually("everything arrives", Restarts.NOTICED_MS, () -> Restarts.places(inbox.messages()).containsAll(acknowledged));
    }
}
