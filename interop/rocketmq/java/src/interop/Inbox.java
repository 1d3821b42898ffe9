package interop;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.common.message.MessageExt;

/** Collects what consumers receive. Several may share one. */
final class Inbox {
    private final Scope scope;
    private final List<MessageExt> messages = new ArrayList<>();

    Inbox(Scope scope) {
        this.scope = scope;
    }

    synchronized void add(List<MessageExt> some) {
        messages.addAll(some);
        scope.received(some);
    }

    MessageListenerConcurrently concurrently() {
        return (some, context) -> {
            add(some);
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        };
    }

    MessageListenerOrderly orderly() {
        return (some, context) -> {
            add(some);
            return ConsumeOrderlyStatus.SUCCESS;
        };
    }

    synchronized List<MessageExt> messages() {
        return List.copyOf(messages);
    }

    int size() {
        return messages().size();
    }

    /** Waits for so many, and expects no more than that. */
    List<MessageExt> take(int count) throws Exception {
        Check.eventually(count + " messages", () -> size() >= count);
        Check.equal(count, size());
        return messages();
    }

    /** The bodies in sorted order: between queues there is none. */
    static List<String> bodies(List<MessageExt> messages) {
        return messages.stream().map(Inbox::body).sorted().toList();
    }

    /** What came of one queue in the order in which it lies there: a concurrent consumer has several threads. */
    static List<MessageExt> byOffset(List<MessageExt> messages) {
        return messages.stream().sorted(Comparator.comparingLong(MessageExt::getQueueOffset)).toList();
    }

    static String body(MessageExt message) {
        return new String(message.getBody(), StandardCharsets.UTF_8);
    }

    /** The bodies of each queue in the order in which they came. */
    static Map<Integer, List<String>> byQueue(List<MessageExt> messages) {
        Map<Integer, List<String>> queues = new TreeMap<>();
        messages.forEach(message -> queues.computeIfAbsent(message.getQueueId(), any -> new ArrayList<>()).add(body(message)));
        return queues;
    }

    /** How many different places there are among the messages. */
    static long places(List<MessageExt> messages) {
        return messages.stream().map(message -> message.getQueueId() + "@" + message.getQueueOffset()).distinct().count();
    }
}
