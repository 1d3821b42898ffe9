package interop;

import static interop.Main.Scenario;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.selector.SelectMessageQueueByHash;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** Every way to send, and what a message carries. */
final class Sending {
    private static final int LARGEST_BODY_BYTES = 4 << 20;

    private Sending() {}

    static Map<String, Scenario> scenarios() {
        Map<String, Scenario> all = new TreeMap<>();
        all.put("send: waiting producers learn the offsets that consumers see", Sending::waiting);
        all.put("send: callbacks are called", Sending::callbacks);
        all.put("send: one-way messages arrive", Sending::oneWay);
        all.put("send: a batch lies in one queue without gaps", Sending::batch);
        all.put("send: everything a message carries arrives", Sending::properties);
        all.put("send: a topic is created by its first message", Sending::unknownTopic);
        all.put("send: a body of 4 MiB arrives", Sending::large);
        all.put("send: a body that the client compresses arrives as it was", Sending::compressed);
        all.put("send: the longest names are good", Sending::longNames);
        all.put("send: messages with the same key go to one queue in order", Sending::byKey);
        all.put("send: a request is replied to", Sending::request);
        all.put("send: messages of delay levels arrive after their time", Sending::levels);
        all.put("send: a traced message leaves a trace", Sending::traced);
        return all;
    }

    private static void waiting(Scope scope) throws Exception {
        String topic = scope.topic(4);
        DefaultMQProducer producer = scope.producer();
        Map<String, SendResult> results = new TreeMap<>();
        for (int number = 0; number < 20; number++) {
            MessageQueue queue = Scope.queues(producer, topic).get(number % 4);
            SendResult result = scope.send(producer, Scope.message(topic, Integer.toString(number)), queue);
            Check.equal(queue, result.getMessageQueue());
            Check.equal((long) number / 4, result.getQueueOffset());
            results.put(Integer.toString(number), result);
        }
        for (MessageExt message : scope.receive(topic).take(20)) {
            SendResult result = results.get(Inbox.body(message));
            Check.equal(result.getMsgId(), message.getMsgId());
            Check.equal(result.getMessageQueue().getQueueId(), message.getQueueId());
            Check.equal(result.getQueueOffset(), message.getQueueOffset());
        }
    }

    private static void levels(Scope scope) throws Exception {
        String topic = scope.topic(2);
        DefaultMQProducer producer = scope.producer();
        long before = System.currentTimeMillis();
        // After five seconds, after one, at once.
        for (int level : List.of(2, 1, 0)) {
            Message message = Scope.message(topic, Integer.toString(level));
            message.setKeys("key-" + level);
            message.setDelayTimeLevel(level);
            Check.equal(SendStatus.SEND_OK, producer.send(message).getSendStatus());
        }
        for (MessageExt message : scope.receive(topic).take(3)) {
            long seconds = List.of(0, 1, 5).get(Integer.parseInt(Inbox.body(message)));
            Check.that(System.currentTimeMillis() >= before + 1000 * seconds, "it is not early");
            Check.that(message.getStoreTimestamp() >= before + 1000 * seconds, "it is stored when it is due");
            Check.that(message.getBornTimestamp() >= before && message.getBornTimestamp() <= message.getStoreTimestamp(), "born when it was sent");
            Check.equal("key-" + Inbox.body(message), message.getKeys());
            Check.equal(topic, message.getTopic());
        }
    }

    private static void callbacks(Scope scope) throws Exception {
        String topic = scope.topic(4);
        DefaultMQProducer producer = scope.producer();
        List<CompletableFuture<SendResult>> answers = new ArrayList<>();
        for (int number = 0; number < 200; number++) {
            Message message = Scope.message(topic, Integer.toString(number));
            CompletableFuture<SendResult> answer = new CompletableFuture<>();
            producer.send(message, new SendCallback() {
                @Override
                public void onSuccess(SendResult result) {
                    answer.complete(scope.sent(message, result));
                }

                @Override
                public void onException(Throwable failure) {
                    answer.completeExceptionally(failure);
                }
            });
            answers.add(answer);
        }
        for (CompletableFuture<SendResult> answer : answers) {
            answer.get(30, TimeUnit.SECONDS);
        }
        Check.equal(200L, Inbox.places(scope.receive(topic).take(200)));
    }

    private static void oneWay(Scope scope) throws Exception {
        String topic = scope.topic(2);
        DefaultMQProducer producer = scope.producer();
        for (int number = 0; number < 50; number++) {
            producer.sendOneway(Scope.message(topic, Integer.toString(number)));
        }
        Check.equal(50L, Inbox.places(scope.receive(topic).take(50)));
    }

    private static void batch(Scope scope) throws Exception {
        String topic = scope.topic(4);
        DefaultMQProducer producer = scope.producer();
        MessageQueue queue = Scope.queues(producer, topic).get(2);
        scope.send(producer, Scope.message(topic, "before"), queue);
        List<Message> batch = new ArrayList<>();
        List<String> expected = new ArrayList<>(List.of("before"));
        for (int number = 0; number < 32; number++) {
            Message message = new Message(topic, "tag" + number, "key" + number, Integer.toString(number).getBytes(StandardCharsets.UTF_8));
            batch.add(message);
            expected.add(Integer.toString(number));
        }
        SendResult result = producer.send(batch, queue);
        Check.equal(SendStatus.SEND_OK, result.getSendStatus());
        Check.equal(1L, result.getQueueOffset());
        Check.equal(32, result.getMsgId().split(",").length);
        List<MessageExt> messages = Inbox.byOffset(scope.receive(topic).take(33));
        Check.equal(Map.of(2, expected), Inbox.byQueue(messages));
        for (int number = 0; number < 32; number++) {
            MessageExt message = messages.get(number + 1);
            Check.equal("tag" + number, message.getTags());
            Check.equal("key" + number, message.getKeys());
            Check.equal(number + 1L, message.getQueueOffset());
        }
    }

    private static void properties(Scope scope) throws Exception {
        String topic = scope.topic(1);
        Message message = Scope.message(topic, "\u6f22 body");
        message.setTags("\u6f22tag");
        message.setKeys(List.of("one", "two", "\u6f22"));
        message.setFlag(77);
        message.setWaitStoreMsgOK(false);
        message.putUserProperty("colour", "blau und gr\u00fcn");
        message.putUserProperty("number", "12");
        long before = System.currentTimeMillis();
        SendResult result = scope.send(scope.producer(), message);
        MessageExt arrived = scope.receive(topic).take(1).get(0);
        Check.equal("\u6f22 body", Inbox.body(arrived));
        Check.equal("\u6f22tag", arrived.getTags());
        Check.equal("one two \u6f22", arrived.getKeys());
        Check.equal(77, arrived.getFlag());
        Check.equal("blau und gr\u00fcn", arrived.getUserProperty("colour"));
        Check.equal("12", arrived.getUserProperty("number"));
        Check.equal(false, arrived.isWaitStoreMsgOK());
        Check.equal(result.getMsgId(), arrived.getMsgId());
        Check.equal(0, arrived.getReconsumeTimes());
        Check.equal("127.0.0.1", arrived.getBornHostString());
        Check.that(arrived.getBornTimestamp() >= before && arrived.getStoreTimestamp() >= before, "times of now");
        Check.that(arrived.getBornTimestamp() <= arrived.getStoreTimestamp(), "it was stored after it was born");
    }

    private static void unknownTopic(Scope scope) throws Exception {
        String topic = Scope.name("by-itself");
        DefaultMQProducer producer = scope.producer();
        for (int number = 0; number < 8; number++) {
            scope.send(producer, Scope.message(topic, Integer.toString(number)));
        }
        scope.uses(topic);
        Inbox inbox = scope.receive(topic);
        Check.equal(List.of("0", "1", "2", "3", "4", "5", "6", "7"), Inbox.bodies(inbox.take(8)));
        Check.equal(4, producer.fetchPublishMessageQueues(topic).size());
    }

    private static void large(Scope scope) throws Exception {
        String topic = scope.topic(1);
        byte[] body = new byte[LARGEST_BODY_BYTES];
        new Random(4).nextBytes(body);
        DefaultMQProducer producer = scope.producer();
        // What is random grows when it is compressed.
        producer.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
        scope.send(producer, new Message(topic, body));
        scope.send(producer, Scope.message(topic, "small"));
        List<MessageExt> messages = Inbox.byOffset(scope.receive(topic).take(2));
        Check.that(java.util.Arrays.equals(body, messages.get(0).getBody()), "the body is the same");
        Check.equal("small", Inbox.body(messages.get(1)));
    }

    private static void compressed(Scope scope) throws Exception {
        String topic = scope.topic(1);
        String body = "zlib is good at this. ".repeat(10_000);
        DefaultMQProducer producer = scope.producer();
        Message batched = Scope.message(topic, body);
        scope.send(producer, Scope.message(topic, body));
        producer.send(List.of(batched));
        Check.equal(List.of(body, body), Inbox.bodies(scope.receive(topic).take(2)));
    }

    private static void longNames(Scope scope) throws Exception {
        String topic = Scope.name("t".repeat(127 - 37));
        scope.create(topic, 1);
        scope.send(scope.producer(), Scope.message(topic, "arrived"));
        Inbox inbox = new Inbox(scope);
        DefaultMQPushConsumer consumer = scope.push(Scope.name("g".repeat(120 - 37)));
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(inbox.concurrently());
        consumer.start();
        MessageExt message = inbox.take(1).get(0);
        Check.equal(topic, message.getTopic());
    }

    private static void byKey(Scope scope) throws Exception {
        String topic = scope.topic(4);
        DefaultMQProducer producer = scope.producer();
        for (int step = 0; step < 10; step++) {
            for (int order = 0; order < 10; order++) {
                Message message = Scope.message(topic, order + ":" + step);
                scope.sent(message, producer.send(message, new SelectMessageQueueByHash(), "order" + order));
            }
        }
        Inbox inbox = new Inbox(scope);
        DefaultMQPushConsumer consumer = scope.push(Scope.name("orders"));
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(inbox.orderly());
        consumer.start();
        Map<String, List<String>> steps = new TreeMap<>();
        for (MessageExt message : inbox.take(100)) {
            String[] parts = Inbox.body(message).split(":");
            steps.computeIfAbsent(parts[0], any -> new ArrayList<>()).add(parts[1]);
        }
        Check.equal(10, steps.size());
        steps.values().forEach(order -> Check.equal(List.of("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"), order));
    }

    private static void request(Scope scope) throws Exception {
        String topic = scope.topic(1);
        DefaultMQProducer replies = scope.producer();
        DefaultMQPushConsumer replier = scope.push(Scope.name("repliers"));
        replier.subscribe(topic, "*");
        MessageListenerConcurrently listener = (messages, context) -> {
            for (MessageExt message : messages) {
                try {
                    replies.send(MessageUtil.createReplyMessage(message, ("reply to " + Inbox.body(message)).getBytes(StandardCharsets.UTF_8)));
                } catch (Exception failure) {
                    throw new IllegalStateException(failure);
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        };
        replier.registerMessageListener(listener);
        replier.start();
        DefaultMQProducer requests = scope.producer();
        for (int number = 0; number < 5; number++) {
            Message reply = requests.request(Scope.message(topic, "request " + number), 20_000);
            Check.equal("reply to request " + number, new String(reply.getBody(), StandardCharsets.UTF_8));
        }
    }

    private static void traced(Scope scope) throws Exception {
        String topic = scope.topic(1);
        DefaultMQProducer producer = scope.fit(new DefaultMQProducer(Scope.name("traced"), true, null));
        producer.start();
        scope.onClose(producer::shutdown);
        SendResult result = scope.send(producer, Scope.message(topic, "traced"));
        Check.eventually("the trace is found by the message's id", () -> {
            List<MessageExt> traces = Queries.byKey(producer, "RMQ_SYS_TRACE_TOPIC", result.getMsgId());
            return traces.size() == 1 && Inbox.body(traces.get(0)).contains(topic);
        });
    }
}
