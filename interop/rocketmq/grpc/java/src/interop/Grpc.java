package interop;

import static interop.Main.Scenario;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.rocketmq.client.apis.ClientConfiguration;
import org.apache.rocketmq.client.apis.ClientException;
import org.apache.rocketmq.client.apis.ClientServiceProvider;
import org.apache.rocketmq.client.apis.consumer.ConsumeResult;
import org.apache.rocketmq.client.apis.consumer.FilterExpression;
import org.apache.rocketmq.client.apis.consumer.FilterExpressionType;
import org.apache.rocketmq.client.apis.consumer.MessageListener;
import org.apache.rocketmq.client.apis.consumer.PushConsumer;
import org.apache.rocketmq.client.apis.consumer.SimpleConsumer;
import org.apache.rocketmq.client.apis.message.Message;
import org.apache.rocketmq.client.apis.message.MessageBuilder;
import org.apache.rocketmq.client.apis.message.MessageView;
import org.apache.rocketmq.client.apis.producer.Producer;
import org.apache.rocketmq.client.apis.producer.SendReceipt;
import org.apache.rocketmq.client.apis.producer.Transaction;
import org.apache.rocketmq.client.apis.producer.TransactionChecker;
import org.apache.rocketmq.client.apis.producer.TransactionResolution;
import org.apache.rocketmq.client.java.message.MessageViewImpl;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

/** The Java client of RocketMQ's gRPC protocol, beside remoting and Kafka clients. */
public final class Grpc {
    private static final ClientServiceProvider PROVIDER = ClientServiceProvider.loadService();
    private static final int AT_A_TIME = 3;
    /** The shortest that Apache's proxy allows. */
    private static final Duration INVISIBLE = Duration.ofSeconds(10);

    /** Of a cluster one node is killed: what was received from the others comes again after this time only. */
    private static final Duration INVISIBLE_BEFORE_KILL = Duration.ofSeconds(30);

    private Grpc() {}

    public static void main(String[] arguments) throws Exception {
        Server server = Server.fromEnvironment();
        String pattern = arguments.length > 0 ? arguments[0] : "";
        Map<String, Scenario> together = scenarios();
        Map<String, Scenario> alone = server.restarts() ? restarts() : new TreeMap<>();
        together.keySet().removeIf(name -> !name.contains(pattern));
        alone.keySet().removeIf(name -> !name.contains(pattern));
        boolean allPassed = Main.run(together, server, AT_A_TIME) & Main.run(alone, server, 1) && !(together.isEmpty() && alone.isEmpty());
        System.exit(allPassed ? 0 : 1);
    }

    private static Map<String, Scenario> scenarios() {
        Map<String, Scenario> all = new TreeMap<>();
        all.put("grpc: what is acknowledged does not come again", Grpc::acknowledged);
        all.put("grpc: what is not acknowledged comes again", Grpc::again);
        all.put("grpc: everything a message carries arrives", Grpc::properties);
        all.put("grpc: callbacks are called", Grpc::callbacks);
        all.put("grpc: tags and SQL92 filter", Grpc::filters);
        all.put("grpc: a push consumer gets a message that failed again", Grpc::push);
        all.put("grpc: messages of a group come in order", Grpc::ordered);
        all.put("grpc: a delayed message comes at its time, unless it is recalled", Grpc::delayed);
        all.put("grpc: a transaction is seen once it is committed", Grpc::transactions);
        all.put("grpc: another producer of the topic is asked about a transaction when the first is gone", Grpc::orphaned);
        all.put("grpc: a body of 4 MiB arrives", Grpc::large);
        all.put("grpc: remoting and gRPC clients read each other", Grpc::remoting);
        all.put("grpc: a topic that is not there is refused", Grpc::missing);
        return all;
    }

    private static Map<String, Scenario> restarts() {
        Map<String, Scenario> all = new TreeMap<>();
        all.put("restart: gRPC clients go on after a restart", scope -> restarted(scope, Server::stopAndStart));
        all.put("restart: gRPC clients go on after kill -9", scope -> restarted(scope, Server::killAndStart));
        all.put("restart: what is acknowledged over gRPC does not come again after kill -9", Grpc::acknowledgedForGood);
        return all;
    }

    private interface Restart {
        void of(Server server) throws Exception;
    }

    private static ClientConfiguration configuration(Scope scope) {
        return ClientConfiguration.newBuilder().setEndpoints(scope.server.grpc).enableSsl(false).setRequestTimeout(Duration.ofSeconds(10)).build();
    }

    private interface Closing {
        void close() throws Exception;
    }

    private static void closeWith(Scope scope, Closing client) {
        scope.onClose(() -> {
            try {
                client.close();
            } catch (Exception failure) {
                throw new IllegalStateException(failure);
            }
        });
    }

    private static Producer producer(Scope scope, String topic) throws ClientException {
        Producer producer = PROVIDER.newProducerBuilder().setClientConfiguration(configuration(scope)).setTopics(topic).build();
        closeWith(scope, producer::close);
        return producer;
    }

    private static SimpleConsumer simple(Scope scope, String topic, FilterExpression filter) throws Exception {
        String group = Scope.name("group");
        createGroup(scope, group, false);
        SimpleConsumer consumer = PROVIDER.newSimpleConsumerBuilder().setClientConfiguration(configuration(scope)).setConsumerGroup(group)
                .setAwaitDuration(Duration.ofSeconds(2)).setSubscriptionExpressions(Map.of(topic, filter)).build();
        closeWith(scope, consumer::close);
        return consumer;
    }

    private static PushConsumer push(Scope scope, String topic, boolean orderly, MessageListener listener) throws Exception {
        String group = Scope.name("push");
        createGroup(scope, group, orderly);
        PushConsumer consumer = PROVIDER.newPushConsumerBuilder().setClientConfiguration(configuration(scope)).setConsumerGroup(group)
                .setSubscriptionExpressions(Map.of(topic, FilterExpression.SUB_ALL)).setConsumptionThreadCount(4).setMessageListener(listener).build();
        closeWith(scope, consumer::close);
        return consumer;
    }

    /** Apache's proxy knows only groups that were created. */
    private static void createGroup(Scope scope, String group, boolean orderly) throws Exception {
        DefaultMQAdminExt admin = scope.fit(new DefaultMQAdminExt());
        admin.start();
        scope.onClose(admin::shutdown);
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(group);
        config.setConsumeMessageOrderly(orderly);
        for (var broker : admin.examineBrokerClusterInfo().getBrokerAddrTable().values()) {
            admin.createAndUpdateSubscriptionGroupConfig(broker.selectBrokerAddr(), config);
        }
    }

    private static MessageBuilder message(String topic, String body) {
        return PROVIDER.newMessageBuilder().setTopic(topic).setBody(body.getBytes(StandardCharsets.UTF_8));
    }

    private static void fill(Producer producer, String topic, int count) throws ClientException {
        for (int number = 0; number < count; number++) {
            producer.send(message(topic, Integer.toString(number)).build());
        }
    }

    private static byte[] bytes(MessageView message) {
        ByteBuffer body = message.getBody();
        byte[] bytes = new byte[body.remaining()];
        body.get(bytes);
        return bytes;
    }

    private static String body(MessageView message) {
        return new String(bytes(message), StandardCharsets.UTF_8);
    }

    private static List<String> bodies(List<MessageView> messages) {
        return messages.stream().map(Grpc::body).sorted().toList();
    }

    /** Receives until so many have come, acknowledges each, and has them looked at by a Kafka client. */
    private static List<MessageView> take(Scope scope, SimpleConsumer consumer, int count) throws Exception {
        List<MessageView> messages = new ArrayList<>();
        Check.eventually(count + " messages", () -> {
            for (MessageView message : consumer.receive(16, INVISIBLE)) {
                consumer.ack(message);
                messages.add(message);
            }
            return messages.size() >= count;
        });
        Check.equal(count, messages.size());
        crossRead(scope, messages);
        return messages;
    }

    /** The queue that a message names is the one that was asked, not the one that it came from, so that its record is found by its id. */
    private static void crossRead(Scope scope, Collection<MessageView> messages) throws Exception {
        if (!scope.server.hasKafka() || messages.isEmpty()) {
            return;
        }
        KafkaView view = KafkaView.of(scope.server, messages.iterator().next().getTopic());
        for (MessageView message : messages) {
            ConsumerRecord<byte[], byte[]> record = view.of(message.getMessageId().toString(), ((MessageViewImpl) message).getOffset());
            Check.that(Arrays.equals(bytes(message), record.value()), "body and value are the same at " + record.partition() + "@" + record.offset());
            Check.equal(record.timestamp(), message.getBornTimestamp());
        }
    }

    private static void acknowledged(Scope scope) throws Exception {
        String topic = scope.topic(4);
        fill(producer(scope, topic), topic, 40);
        SimpleConsumer consumer = simple(scope, topic, FilterExpression.SUB_ALL);
        List<MessageView> messages = take(scope, consumer, 40);
        Check.equal(40, new HashSet<>(bodies(messages)).size());
        long invisible = System.nanoTime() + INVISIBLE.toNanos();
        while (System.nanoTime() < invisible) {
            Check.equal(List.of(), bodies(consumer.receive(16, INVISIBLE)));
        }
    }

    private static void again(Scope scope) throws Exception {
        String topic = scope.topic(1);
        SendReceipt receipt = producer(scope, topic).send(message(topic, "again").build());
        SimpleConsumer consumer = simple(scope, topic, FilterExpression.SUB_ALL);
        List<Integer> attempts = new ArrayList<>();
        List<MessageView> received = new ArrayList<>();
        Check.eventually("it comes three times", () -> {
            for (MessageView message : consumer.receive(16, Duration.ofSeconds(20))) {
                received.add(message);
                Check.equal(receipt.getMessageId(), message.getMessageId());
                attempts.add(message.getDeliveryAttempt());
                if (attempts.size() == 3) {
                    consumer.ack(message);
                } else {
                    consumer.changeInvisibleDuration(message, INVISIBLE);
                }
            }
            return attempts.size() >= 3;
        });
        Check.equal(List.of(1, 2, 3), attempts);
        crossRead(scope, received);
    }

    private static void properties(Scope scope) throws Exception {
        String topic = scope.topic(1);
        long before = System.currentTimeMillis();
        Message sent = message(topic, "\u6f22 body").setTag("tag").setKeys("one", "two").addProperty("colour", "gr\u00fcn").build();
        SendReceipt receipt = producer(scope, topic).send(sent);
        MessageView message = take(scope, simple(scope, topic, FilterExpression.SUB_ALL), 1).get(0);
        Check.equal("\u6f22 body", body(message));
        Check.equal("tag", message.getTag().orElse(null));
        Check.equal(Set.of("one", "two"), Set.copyOf(message.getKeys()));
        Check.equal("gr\u00fcn", message.getProperties().get("colour"));
        Check.equal(receipt.getMessageId(), message.getMessageId());
        Check.equal(topic, message.getTopic());
        Check.equal(1, message.getDeliveryAttempt());
        Check.that(message.getBornTimestamp() >= before, "born now");
    }

    /** A topic of delayed messages. */
    private static void delayed(Scope scope) throws Exception {
        String topic = Scope.name("delay");
        DefaultMQProducer creator = scope.producer();
        creator.createTopic("TBW102", topic, 2, Map.of("+message.type", "DELAY"));
        Check.eventually("two queues", () -> Scope.found(creator, topic) == 2);
        Producer producer = producer(scope, topic);
        long before = System.currentTimeMillis();
        SendReceipt recalled = producer.send(message(topic, "recalled").setDeliveryTimestamp(before + 20_000).build());
        SendReceipt kept = producer.send(message(topic, "kept").setDeliveryTimestamp(before + 3_000).build());
        Check.equal(recalled.getMessageId(), producer.recallMessage(topic, recalled.getRecallHandle()).getMessageId());
        SimpleConsumer consumer = simple(scope, topic, FilterExpression.SUB_ALL);
        List<MessageView> messages = new ArrayList<>();
        Check.eventually("the message that was kept", () -> messages.addAll(consumer.receive(16, INVISIBLE)));
        Check.that(System.currentTimeMillis() >= before + 3_000, "it is not early");
        Check.equal(List.of("kept"), bodies(messages));
        Check.equal(kept.getMessageId(), messages.get(0).getMessageId());
        Check.equal(before + 3_000, messages.get(0).getDeliveryTimestamp().orElse(0L));
        Check.that(messages.get(0).getBornTimestamp() < before + 3_000, "it was born before");
        consumer.ack(messages.get(0));
    }

    /** A topic of transactional messages. */
    private static String transactional(Scope scope) throws Exception {
        String topic = Scope.name("transaction");
        DefaultMQProducer creator = scope.producer();
        creator.createTopic("TBW102", topic, 2, Map.of("+message.type", "TRANSACTION"));
        Check.eventually("two queues", () -> Scope.found(creator, topic) == 2);
        scope.uses(topic);
        return topic;
    }

    private static Producer deciding(Scope scope, String topic, TransactionChecker checker) throws ClientException {
        return PROVIDER.newProducerBuilder().setClientConfiguration(configuration(scope)).setTopics(topic).setTransactionChecker(checker).build();
    }

    private static void transactions(Scope scope) throws Exception {
        String topic = transactional(scope);
        Producer producer = deciding(scope, topic, message -> TransactionResolution.UNKNOWN);
        closeWith(scope, producer::close);
        Map<String, Transaction> open = new TreeMap<>();
        Map<String, SendReceipt> receipts = new TreeMap<>();
        for (String body : List.of("kept", "lost", "open")) {
            Transaction transaction = producer.beginTransaction();
            receipts.put(body, producer.send(message(topic, body).setTag("tag").setKeys("key").build(), transaction));
            open.put(body, transaction);
        }
        if (scope.server.hasKafka()) {
            Check.equal(0, KafkaView.of(scope.server, topic).size());
        }
        open.get("lost").rollback();
        open.get("kept").commit();
        MessageView message = take(scope, simple(scope, topic, FilterExpression.SUB_ALL), 1).get(0);
        Check.equal("kept", body(message));
        Check.equal(receipts.get("kept").getMessageId(), message.getMessageId());
        Check.equal("tag", message.getTag().orElse(null));
        if (scope.server.hasKafka()) {
            Check.equal(1, KafkaView.of(scope.server, topic).size());
        }
    }

    private static void orphaned(Scope scope) throws Exception {
        String topic = transactional(scope);
        Producer first = deciding(scope, topic, message -> TransactionResolution.UNKNOWN);
        for (String body : List.of("kept", "lost")) {
            first.send(message(topic, body).build(), first.beginTransaction());
        }
        first.close();
        Set<String> asked = ConcurrentHashMap.newKeySet();
        Producer heir = deciding(scope, topic, message -> {
            asked.add(body(message));
            return body(message).equals("kept") ? TransactionResolution.COMMIT : TransactionResolution.ROLLBACK;
        });
        closeWith(scope, heir::close);
        Check.equal(List.of("kept"), bodies(take(scope, simple(scope, topic, FilterExpression.SUB_ALL), 1)));
        Check.eventually("it is asked for both", () -> asked.equals(Set.of("kept", "lost")));
    }

    private static void callbacks(Scope scope) throws Exception {
        String topic = scope.topic(4);
        Producer producer = producer(scope, topic);
        List<CompletableFuture<SendReceipt>> receipts = new ArrayList<>();
        for (int number = 0; number < 100; number++) {
            receipts.add(producer.sendAsync(message(topic, Integer.toString(number)).build()));
        }
        Set<String> ids = new HashSet<>();
        for (CompletableFuture<SendReceipt> receipt : receipts) {
            ids.add(receipt.get(30, TimeUnit.SECONDS).getMessageId().toString());
        }
        Check.equal(100, ids.size());
        take(scope, simple(scope, topic, FilterExpression.SUB_ALL), 100);
    }

    private static void filters(Scope scope) throws Exception {
        String topic = scope.topic(2);
        Producer producer = producer(scope, topic);
        for (int number = 0; number < 12; number++) {
            String colour = List.of("red", "green", "blue").get(number % 3);
            producer.send(message(topic, colour + number).setTag(colour).addProperty("number", Integer.toString(number)).build());
        }
        FilterExpression tags = new FilterExpression("red || blue", FilterExpressionType.TAG);
        List<String> reds = bodies(take(scope, simple(scope, topic, tags), 8));
        Check.that(reds.stream().noneMatch(body -> body.startsWith("green")), reds.toString());
        FilterExpression sql = new FilterExpression("number > 8 AND TAGS = 'red'", FilterExpressionType.SQL92);
        Check.equal(List.of("red9"), bodies(take(scope, simple(scope, topic, sql), 1)));
    }

    private static void push(Scope scope) throws Exception {
        String topic = scope.topic(2);
        fill(producer(scope, topic), topic, 10);
        Map<String, List<Integer>> attempts = new ConcurrentHashMap<>();
        Collection<MessageView> received = new ConcurrentLinkedQueue<>();
        push(scope, topic, false, message -> {
            received.add(message);
            List<Integer> mine = attempts.computeIfAbsent(body(message), any -> Collections.synchronizedList(new ArrayList<>()));
            mine.add(message.getDeliveryAttempt());
            return body(message).equals("3") && mine.size() == 1 ? ConsumeResult.FAILURE : ConsumeResult.SUCCESS;
        });
        Check.eventually("ten messages, one of them twice", () -> attempts.size() == 10 && attempts.get("3").size() == 2);
        Check.equal(List.of(1, 2), attempts.remove("3"));
        attempts.values().forEach(once -> Check.equal(List.of(1), once));
        crossRead(scope, received);
    }

    /** A topic of messages with groups, and a consumer group that keeps their order. */
    private static void ordered(Scope scope) throws Exception {
        String topic = Scope.name("fifo");
        DefaultMQProducer creator = scope.producer();
        creator.createTopic("TBW102", topic, 4, Map.of("+message.type", "FIFO"));
        scope.uses(topic);
        Check.eventually("four queues", () -> Scope.found(creator, topic) == 4);
        Producer producer = producer(scope, topic);
        List<String> steps = new ArrayList<>();
        for (int step = 0; step < 10; step++) {
            steps.add(Integer.toString(step));
            for (int order = 0; order < 5; order++) {
                producer.send(message(topic, order + ":" + step).setMessageGroup("order " + order).build());
            }
        }
        Map<String, List<String>> orders = new ConcurrentHashMap<>();
        Collection<MessageView> received = new ConcurrentLinkedQueue<>();
        push(scope, topic, true, message -> {
            received.add(message);
            String[] parts = body(message).split(":");
            orders.computeIfAbsent(parts[0], any -> Collections.synchronizedList(new ArrayList<>())).add(parts[1]);
            return ConsumeResult.SUCCESS;
        });
        Check.eventually("everything", () -> orders.values().stream().mapToInt(List::size).sum() >= 50);
        orders.values().forEach(order -> Check.equal(steps, order));
        crossRead(scope, received);
    }

    private static void large(Scope scope) throws Exception {
        String topic = scope.topic(1);
        byte[] body = new byte[4 << 20];
        new Random(4).nextBytes(body);
        producer(scope, topic).send(PROVIDER.newMessageBuilder().setTopic(topic).setBody(body).build());
        MessageView message = take(scope, simple(scope, topic, FilterExpression.SUB_ALL), 1).get(0);
        Check.that(Arrays.equals(body, bytes(message)), "the body is the same");
    }

    private static void remoting(Scope scope) throws Exception {
        String topic = scope.topic(2);
        fill(producer(scope, topic), topic, 10);
        DefaultMQProducer remoting = scope.producer();
        String text = "zlib is good at this. ".repeat(1000);
        for (int number = 0; number < 10; number++) {
            scope.send(remoting, Scope.message(topic, text + number));
        }
        List<String> received = Inbox.bodies(scope.receive(topic).take(20));
        Check.equal(received, bodies(take(scope, simple(scope, topic, FilterExpression.SUB_ALL), 20)));
    }

    private static void missing(Scope scope) throws Exception {
        Producer producer = producer(scope, scope.topic(1));
        Check.fails(ClientException.class, () -> producer.send(message(Scope.name("missing"), "nowhere").build()));
    }

    /** Every second message, so that what is acknowledged lies between what is not. */
    private static void acknowledgedForGood(Scope scope) throws Exception {
        String topic = scope.topic(4);
        fill(producer(scope, topic), topic, 100);
        SimpleConsumer consumer = simple(scope, topic, FilterExpression.SUB_ALL);
        Set<String> acknowledged = new HashSet<>();
        Set<String> kept = new HashSet<>();
        Check.eventually("100 messages", () -> {
            for (MessageView message : consumer.receive(16, INVISIBLE_BEFORE_KILL)) {
                if (kept.contains(body(message))) {
                    continue;
                }
                if (kept.size() > acknowledged.size()) {
                    consumer.ack(message);
                    acknowledged.add(body(message));
                } else {
                    kept.add(body(message));
                }
            }
            return acknowledged.size() + kept.size() >= 100;
        });
        scope.server.killAndStart();
        Set<String> again = new HashSet<>();
        Check.eventually("what was kept comes again", 4 * INVISIBLE_BEFORE_KILL.toMillis(), () -> {
            List<MessageView> messages;
            try {
                messages = consumer.receive(16, INVISIBLE);
            } catch (ClientException notYet) {
                return false;
            }
            for (MessageView message : messages) {
                Check.that(!acknowledged.contains(body(message)), "acknowledged before: " + body(message));
                again.add(body(message));
            }
            return again.size() >= kept.size();
        });
        Check.equal(kept, again);
    }

    private static void restarted(Scope scope, Restart restart) throws Exception {
        String topic = scope.topic(4);
        Producer producer = producer(scope, topic);
        Set<String> bodies = ConcurrentHashMap.newKeySet();
        Collection<MessageView> received = new ConcurrentLinkedQueue<>();
        push(scope, topic, false, message -> {
            received.add(message);
            bodies.add(body(message));
            return ConsumeResult.SUCCESS;
        });
        Set<String> acknowledged = new HashSet<>();
        for (int number = 0; number < 200; number++) {
            producer.send(message(topic, "before " + number).build());
            acknowledged.add("before " + number);
        }
        restart.of(scope.server);
        Check.eventually("sending works again", () -> {
            String body = "after " + acknowledged.size();
            try {
                producer.send(message(topic, body).build());
            } catch (ClientException notYet) {
                return false;
            }
            return acknowledged.add(body) && acknowledged.size() >= 300;
        });
        Check.eventually("everything arrives", () -> bodies.containsAll(acknowledged));
        crossRead(scope, received);
    }
}
