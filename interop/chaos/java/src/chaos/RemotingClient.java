package chaos;

import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.SortedMap;
import java.util.TreeMap;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** RocketMQ's Java client over remoting. A send that timed out may be overtaken by the next one, so that sends have no sequence. */
@SuppressWarnings("deprecation")
final class RemotingClient {
    private static final int PULL = 32;
    private static final int PAUSE_MS = 2;

    private RemotingClient() {}

    static void produce(Main.Task task) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer("chaos-producer-" + task.client());
        producer.setNamesrvAddr(task.addresses());
        producer.start();
        List<MessageQueue> queues = eventually(task, () -> producer.fetchPublishMessageQueues(task.topic()));
        for (long number = 0; task.running(); number++) {
            MessageQueue queue = queues.get((int) (number % queues.size()));
            String value = task.value(number);
            task.events().sent(queue.getQueueId(), value, -1);
            try {
                byte[] body = Main.padded(value).getBytes(StandardCharsets.US_ASCII);
                SendResult result = producer.send(new Message(task.topic(), body), queue);
                if (result.getSendStatus() == SendStatus.SEND_OK) {
                    task.events().acked(result.getMessageQueue().getQueueId(), value, result.getQueueOffset());
                }
                Thread.sleep(PAUSE_MS);
            } catch (InterruptedException stopped) {
                throw stopped;
            } catch (Exception error) {
                task.events().unknown(queue.getQueueId(), value, error);
                Thread.sleep(50);
            }
        }
        producer.shutdown();
    }

    static void consume(Main.Task task) throws Exception {
        DefaultMQPullConsumer consumer = new DefaultMQPullConsumer("chaos-consumer-" + task.client());
        consumer.setNamesrvAddr(task.addresses());
        consumer.start();
        List<MessageQueue> queues = eventually(task, () -> List.copyOf(consumer.fetchSubscribeMessageQueues(task.topic())));
        SortedMap<MessageQueue, Long> positions = new TreeMap<>();
        for (MessageQueue queue : queues) {
            task.events().sought(queue.getQueueId(), 0);
            positions.put(queue, 0L);
        }
        while (task.running()) {
            boolean idle = true;
            for (MessageQueue queue : queues) {
                idle &= !advance(task, consumer, positions, queue);
            }
            if (idle) {
                Thread.sleep(20);
            }
        }
        for (MessageQueue queue : queues) {
            long end = consumer.maxOffset(queue);
            while (positions.get(queue) < end) {
                advance(task, consumer, positions, queue);
            }
            task.events().end(queue.getQueueId(), end);
        }
        consumer.shutdown();
    }

    /** Pulls once; whether something came. A server that is away is asked again. */
    private static boolean advance(
            Main.Task task, DefaultMQPullConsumer consumer, SortedMap<MessageQueue, Long> positions, MessageQueue queue)
            throws InterruptedException {
        PullResult result;
        try {
            result = consumer.pull(queue, "*", positions.get(queue), PULL);
        } catch (InterruptedException stopped) {
            throw stopped;
        } catch (Exception away) {
            Thread.sleep(50);
            return false;
        }
        if (result.getPullStatus() != PullStatus.FOUND) {
            return false;
        }
        Events.Poll poll = task.events().new Poll(queue.getQueueId());
        for (MessageExt message : result.getMsgFoundList()) {
            poll.add(message.getQueueOffset(), Main.unpadded(new String(message.getBody(), StandardCharsets.ISO_8859_1)));
        }
        poll.flush();
        positions.put(queue, result.getNextBeginOffset());
        return true;
    }

    private interface Attempt<T> {
        T call() throws Exception;
    }

    /** The name server may be away when the client starts. */
    private static <T> T eventually(Main.Task task, Attempt<T> attempt) throws Exception {
        while (true) {
            try {
                return attempt.call();
            } catch (Exception away) {
                if (!task.running()) {
                    throw away;
                }
                Thread.sleep(100);
            }
        }
    }
}
