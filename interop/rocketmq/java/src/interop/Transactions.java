package interop;

import static interop.Main.Scenario;

import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Function;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.TransactionSendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageExt;

/** Messages that nobody sees before their producer has done its part. */
final class Transactions {
    /** In seconds: the shortest time after which producers are asked. */
    private static final String SOON = "1";

    private Transactions() {}

    static Map<String, Scenario> scenarios() {
        Map<String, Scenario> all = new TreeMap<>();
        all.put("transaction: committed messages arrive, others are seen by nobody", Transactions::decided);
        all.put("transaction: a producer is asked what it has not decided", Transactions::asked);
        all.put("transaction: another producer of the group is asked when the first is gone", Transactions::inherited);
        return all;
    }

    /** Decides at once by the message's body, and when asked by another rule. */
    private record Decider(Function<Message, LocalTransactionState> first, Function<MessageExt, LocalTransactionState> later)
            implements TransactionListener {
        @Override
        public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
            return first.apply(message);
        }

        @Override
        public LocalTransactionState checkLocalTransaction(MessageExt message) {
            return later.apply(message);
        }
    }

    private static TransactionMQProducer producer(Scope scope, String group, Decider decider) throws Exception {
        TransactionMQProducer producer = scope.fit(new TransactionMQProducer(group));
        producer.setSendMsgTimeout(10_000);
        producer.setTransactionListener(decider);
        producer.start();
        scope.onClose(producer::shutdown);
        return producer;
    }

    private static Message message(String topic, String body) {
        Message message = Scope.message(topic, body);
        message.setKeys("key-" + body);
        MessageAccessor.putProperty(message, "CHECK_IMMUNITY_TIME_IN_SECONDS", SOON);
        return message;
    }

    private static TransactionSendResult send(TransactionMQProducer producer, Message message) throws Exception {
        TransactionSendResult result = producer.sendMessageInTransaction(message, null);
        Check.equal(SendStatus.SEND_OK, result.getSendStatus());
        Check.equal(result.getMsgId(), result.getTransactionId());
        return result;
    }

    private static void decided(Scope scope) throws Exception {
        String topic = scope.topic(2);
        Set<Integer> seenTooEarly = ConcurrentHashMap.newKeySet();
        Decider decider = new Decider(message -> {
            seenTooEarly.addAll(seen(scope, topic));
            return switch (Integer.parseInt(new String(message.getBody())) % 3) {
                case 0 -> LocalTransactionState.ROLLBACK_MESSAGE;
                default -> LocalTransactionState.UNKNOW;
            };
        }, message -> LocalTransactionState.UNKNOW);
        TransactionMQProducer undecided = producer(scope, Scope.name("payers"), decider);
        for (int number = 0; number < 6; number++) {
            send(undecided, message(topic, Integer.toString(number)));
        }
        Check.equal(Set.of(), seenTooEarly);
        Decider committer = new Decider(message -> LocalTransactionState.COMMIT_MESSAGE, message -> LocalTransactionState.UNKNOW);
        TransactionMQProducer decisive = producer(scope, Scope.name("payers"), committer);
        TransactionSendResult first = send(decisive, message(topic, "first"));
        send(decisive, message(topic, "second"));
        List<MessageExt> messages = scope.receive(topic).take(2);
        Check.equal(List.of("first", "second"), Inbox.bodies(messages));
        MessageExt received = messages.stream().filter(message -> Inbox.body(message).equals("first")).findFirst().orElseThrow();
        Check.equal(first.getMsgId(), received.getMsgId());
        Check.equal(first.getTransactionId(), received.getTransactionId());
        Check.equal("key-first", received.getKeys());
        if (scope.server.hasKafka()) {
            Check.equal(2, KafkaView.of(scope.server, topic).size());
        }
    }

    /** How many records a Kafka consumer finds, if it finds any. */
    private static Set<Integer> seen(Scope scope, String topic) {
        try {
            int size = scope.server.hasKafka() ? KafkaView.of(scope.server, topic).size() : 0;
            return size == 0 ? Set.of() : Set.of(size);
        } catch (Exception failure) {
            throw new IllegalStateException(failure);
        }
    }

    private static void asked(Scope scope) throws Exception {
        String topic = scope.topic(1);
        Set<String> askedFor = ConcurrentHashMap.newKeySet();
        Decider decider = new Decider(message -> LocalTransactionState.UNKNOW, message -> {
            Check.equal(topic, message.getTopic());
            Check.equal("key-" + Inbox.body(message), message.getKeys());
            askedFor.add(message.getTransactionId());
            return Inbox.body(message).equals("lost") ? LocalTransactionState.ROLLBACK_MESSAGE : LocalTransactionState.COMMIT_MESSAGE;
        });
        TransactionMQProducer producer = producer(scope, Scope.name("payers"), decider);
        String lost = send(producer, message(topic, "lost")).getTransactionId();
        String kept = send(producer, message(topic, "kept")).getTransactionId();
        Check.equal(List.of("kept"), Inbox.bodies(scope.receive(topic).take(1)));
        Check.eventually("both were asked for", () -> askedFor.equals(Set.of(lost, kept)));
    }

    private static void inherited(Scope scope) throws Exception {
        String topic = scope.topic(1);
        String group = Scope.name("payers");
        Decider silent = new Decider(message -> LocalTransactionState.UNKNOW, message -> LocalTransactionState.UNKNOW);
        TransactionMQProducer first = producer(scope, group, silent);
        for (int number = 0; number < 3; number++) {
            send(first, message(topic, Integer.toString(number)));
        }
        first.shutdown();
        // A producer tells of itself where it has sent.
        Decider heir = new Decider(message -> LocalTransactionState.UNKNOW, message -> LocalTransactionState.COMMIT_MESSAGE);
        scope.send(producer(scope, group, heir), Scope.message(scope.topic(1), "plain"));
        Check.equal(Set.of("0", "1", "2"), Set.copyOf(Inbox.bodies(scope.receive(topic).take(3))));
    }
}
