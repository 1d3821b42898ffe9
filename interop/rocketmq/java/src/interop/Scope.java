package interop;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Comparator;
import java.util.Deque;
import java.util.List;
import java.util.Set;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** What one scenario opened, sent and received: closed, and read by a Kafka client, when it ends. */
final class Scope implements AutoCloseable {
    /** Where a message lies, as its producer was told. */
    record Sent(String topic, int queue, long offset, byte[] body) {}

    final Server server;
    private final Deque<Runnable> opened = new ArrayDeque<>();
    private final Set<String> topics = ConcurrentHashMap.newKeySet();
    private final Collection<Sent> sent = new ConcurrentLinkedQueue<>();
    private final Collection<MessageExt> received = new ConcurrentLinkedQueue<>();

    Scope(Server server) {
        this.server = server;
    }

    /** A name nobody else has. */
    static String name(String kind) {
        return kind + "-" + UUID.randomUUID();
    }

    /** Creates a topic and waits until clients find it. */
    String topic(int queues) throws Exception {
        String topic = name("rocketmq");
        create(topic, queues);
        return topic;
    }

    void create(String topic, int queues) throws Exception {
        DefaultMQProducer producer = producer();
        Release.createTopic(producer, topic, queues);
        Check.eventually(topic + " has a route", () -> found(producer, topic) == queues);
        topics.add(topic);
    }

    /** How many queues a producer finds; none when there is no such topic. */
    static int found(DefaultMQProducer producer, String topic) {
        try {
            return producer.fetchPublishMessageQueues(topic).size();
        } catch (MQClientException notYet) {
            return 0;
        }
    }

    /** Remembers a topic that came into being by itself. */
    void uses(String topic) {
        topics.add(topic);
    }

    /** Fits a client to the server under test and gives it connections of its own. */
    <C extends ClientConfig> C fit(C client) {
        client.setNamesrvAddr(server.nameServer);
        client.setInstanceName(UUID.randomUUID().toString());
        client.setPollNameServerInterval(1000);
        client.setHeartbeatBrokerInterval(1000);
        client.setPersistConsumerOffsetInterval(500);
        return client;
    }

    void onClose(Runnable shutdown) {
        opened.push(shutdown);
    }

    DefaultMQProducer producer() throws MQClientException {
        DefaultMQProducer producer = fit(new DefaultMQProducer(name("producers")));
        producer.setSendMsgTimeout(10_000);
        producer.start();
        onClose(producer::shutdown);
        return producer;
    }

    /** Not started yet; begins at the first message of each queue. */
    DefaultMQPushConsumer push(String group) {
        DefaultMQPushConsumer consumer = fit(new DefaultMQPushConsumer(group));
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setConsumeThreadMin(4);
        consumer.setConsumeThreadMax(4);
        onClose(consumer::shutdown);
        return consumer;
    }

    /** Not started yet. */
    DefaultLitePullConsumer litePull(String group) {
        DefaultLitePullConsumer consumer = fit(new DefaultLitePullConsumer(group));
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setAutoCommitIntervalMillis(1000);
        onClose(consumer::shutdown);
        return consumer;
    }

    /** The pull consumer that leaves everything to its caller. */
    DefaultMQPullConsumer pull(String group) throws MQClientException {
        DefaultMQPullConsumer consumer = fit(new DefaultMQPullConsumer(group));
        consumer.start();
        onClose(consumer::shutdown);
        return consumer;
    }

    /** A push consumer of everything in a topic. */
    Inbox receive(String topic) throws MQClientException {
        Inbox inbox = new Inbox(this);
        DefaultMQPushConsumer consumer = push(name("group"));
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(inbox.concurrently());
        consumer.start();
        return inbox;
    }

    void received(Collection<MessageExt> messages) {
        received.addAll(messages);
    }

    SendResult send(DefaultMQProducer producer, Message message) throws Exception {
        return sent(message, producer.send(message));
    }

    SendResult send(DefaultMQProducer producer, Message message, MessageQueue queue) throws Exception {
        return sent(message, producer.send(message, queue));
    }

    SendResult sent(Message message, SendResult result) {
        Check.equal(SendStatus.SEND_OK, result.getSendStatus());
        sent.add(new Sent(message.getTopic(), result.getMessageQueue().getQueueId(), result.getQueueOffset(), message.getBody()));
        return result;
    }

    /** Sends "0", "1", ... to a topic's queues in turn, so many to each. */
    void fill(DefaultMQProducer producer, String topic, int each) throws Exception {
        List<MessageQueue> queues = queues(producer, topic);
        for (int number = 0; number < each; number++) {
            for (MessageQueue queue : queues) {
                send(producer, message(topic, Integer.toString(number)), queue);
            }
        }
    }

    static Message message(String topic, String body) {
        return new Message(topic, "*", body.getBytes(java.nio.charset.StandardCharsets.UTF_8));
    }

    /** A topic's queues by number. */
    static List<MessageQueue> queues(DefaultMQProducer producer, String topic) throws MQClientException {
        List<MessageQueue> queues = new ArrayList<>(producer.fetchPublishMessageQueues(topic));
        queues.sort(Comparator.comparingInt(MessageQueue::getQueueId));
        return queues;
    }

    /** Reads all topics of the scenario with a Kafka client: what was sent and received is there, at the same offsets. */
    void crossRead() throws Exception {
        if (!server.hasKafka()) {
            return;
        }
        for (String topic : topics) {
            KafkaView view = KafkaView.of(server, topic);
            for (Sent one : sent) {
                if (one.topic().equals(topic)) {
                    byte[] value = view.at(one.queue(), one.offset()).value();
                    Check.that(Arrays.equals(one.body(), value), "the value at " + one.queue() + "@" + one.offset() + " is what was sent");
                }
            }
            for (MessageExt message : received) {
                // What came again came from another topic.
                if (message.getTopic().equals(topic) && message.getReconsumeTimes() == 0) {
                    view.check(message);
                }
            }
        }
    }

    @Override
    public void close() {
        while (!opened.isEmpty()) {
            opened.pop().run();
        }
    }
}
