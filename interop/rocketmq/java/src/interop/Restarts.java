package interop;

import static interop.Main.Scenario;

import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.MessageExt;

/** The server is restarted, or killed and started, while clients work. */
final class Restarts {
    static final int BEFORE = 300;
    static final int AFTER = 300;
    /**
     * A client of release 4.9 does not notice for its pulls that a killed server has closed their connection: it waits until their own
     * time of 30 s is over, and 3 s more.
     */
    static final long NOTICED_MS = 60_000;

    private Restarts() {}

    private interface Restart {
        void of(Server server) throws Exception;
    }

    static Map<String, Scenario> scenarios() {
        Map<String, Scenario> all = new TreeMap<>();
        all.put("restart: consumers get what a producer sends, interrupted by a restart", scope -> interrupted(scope, Server::stopAndStart));
        all.put("restart: consumers get what a producer sends, interrupted by kill -9", scope -> interrupted(scope, Server::killAndStart));
        all.put("restart: offsets, messages, keys and topics survive", Restarts::survive);
        return all;
    }

    /** Sends numbers until it is told to stop; what was acknowledged is in the set. */
    static Thread sender(Scope scope, String topic, Set<String> acknowledged, AtomicBoolean enough) throws Exception {
        DefaultMQProducer producer = scope.producer();
        producer.setSendMsgTimeout(3000);
        Thread thread = new Thread(() -> {
            for (int number = 0; !enough.get() && !Thread.interrupted(); number++) {
                try {
                    SendResult result = producer.send(Scope.message(topic, Integer.toString(number)));
                    if (result.getSendStatus() == SendStatus.SEND_OK) {
                        acknowledged.add(result.getMessageQueue().getQueueId() + "@" + result.getQueueOffset());
                    }
                } catch (InterruptedException interrupted) {
                    return;
                } catch (Exception unreachable) {
                    // The next attempt tells whether the server is back.
                }
            }
        });
        thread.start();
        scope.onClose(thread::interrupt);
        return thread;
    }

    static Set<String> places(List<MessageExt> messages) {
        Set<String> places = ConcurrentHashMap.newKeySet();
        messages.forEach(message -> places.add(message.getQueueId() + "@" + message.getQueueOffset()));
        return places;
    }

    /** A push consumer, an orderly one and a lite pull consumer, each with a group of its own, go on where they were. */
    private static void interrupted(Scope scope, Restart restart) throws Exception {
        String topic = scope.topic(4);
        Inbox pushed = scope.receive(topic);
        Inbox ordered = new Inbox(scope);
        DefaultMQPushConsumer orderly = scope.push(Scope.name("orderly"));
        orderly.subscribe(topic, "*");
        orderly.registerMessageListener(ordered.orderly());
        orderly.start();
        DefaultLitePullConsumer pulling = scope.litePull(Scope.name("lite"));
        pulling.subscribe(topic, "*");
        pulling.start();
        Set<String> acknowledged = ConcurrentHashMap.newKeySet();
        AtomicBoolean enough = new AtomicBoolean();
        Thread sender = sender(scope, topic, acknowledged, enough);
        Check.eventually("the producer is at work", () -> acknowledged.size() >= BEFORE);
        restart.of(scope.server);
        int then = acknowledged.size();
        Check.eventually("the producer goes on", () -> acknowledged.size() >= then + AFTER);
        enough.set(true);
        sender.join();
        Check.eventually("everything arrives at the push consumer", NOTICED_MS, () -> places(pushed.messages()).containsAll(acknowledged));
        Check.eventually("everything arrives at the orderly consumer", NOTICED_MS, () -> places(ordered.messages()).containsAll(acknowledged));
        checkOrder(ordered.messages());
        Inbox pulled = new Inbox(scope);
        Check.eventually("everything arrives at the lite pull consumer", NOTICED_MS, () -> {
            pulled.add(pulling.poll(200));
            return places(pulled.messages()).containsAll(acknowledged);
        });
    }

    /** A queue may be read again from an earlier place, but nothing of it may be jumped over. */
    private static void checkOrder(List<MessageExt> messages) {
        Map<Integer, Long> last = new TreeMap<>();
        for (MessageExt message : messages) {
            Long before = last.put(message.getQueueId(), message.getQueueOffset());
            Check.that(message.getQueueOffset() <= (before == null ? 0 : before + 1), "no gap before " + message.getQueueOffset());
        }
    }

    private static void survive(Scope scope) throws Exception {
        String topic = scope.topic(2);
        String group = Scope.name("survives");
        DefaultMQProducer producer = scope.producer();
        scope.fill(producer, topic, 20);
        SendResult kept = scope.send(producer, new org.apache.rocketmq.common.message.Message(topic, "tag", "kept", new byte[] {'k'}));
        consume(scope, group, topic, 41);
        scope.server.stopAndStart();
        scope.server.killAndStart();
        Check.eventually("the key is found", () -> {
            try {
                return Queries.byKey(producer, topic, "kept").size() == 1;
            } catch (Exception notYet) {
                return false;
            }
        });
        Check.equal("k", Inbox.body(producer.viewMessage(topic, kept.getOffsetMsgId())));
        Check.equal(2, Scope.queues(producer, topic).size());
        scope.fill(producer, topic, 5);
        consume(scope, group, topic, 10);
    }

    private static void consume(Scope scope, String group, String topic, int count) throws Exception {
        Inbox inbox = new Inbox(scope);
        DefaultMQPushConsumer consumer = scope.push(group);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(inbox.concurrently());
        consumer.start();
        Check.equal((long) count, Inbox.places(inbox.take(count)));
        consumer.shutdown();
    }
}
