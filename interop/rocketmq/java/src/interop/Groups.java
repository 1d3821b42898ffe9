package interop;

import static interop.Main.Scenario;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.rocketmq.client.consumer.AllocateMessageQueueStrategy;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMachineRoomNearby;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragely;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueAveragelyByCircle;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueByConfig;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueByMachineRoom;
import org.apache.rocketmq.client.consumer.rebalance.AllocateMessageQueueConsistentHash;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageQueue;

/** Who gets which queues, and what happens when members come, go and die. */
final class Groups {
    private static final int QUEUES = 8;

    private Groups() {}

    static Map<String, Scenario> scenarios() {
        Map<String, Scenario> all = new TreeMap<>();
        all.put("groups: neighbouring queues go to one member", scope -> allocation(scope, new AllocateMessageQueueAveragely()));
        all.put("groups: queues are dealt out in turn", scope -> allocation(scope, new AllocateMessageQueueAveragelyByCircle()));
        all.put("groups: queues are spread by consistent hashes", scope -> allocation(scope, new AllocateMessageQueueConsistentHash()));
        all.put("groups: each room's queues go to its members", scope -> allocation(scope, nearby()));
        all.put("groups: members get the queues they are configured with", Groups::configured);
        all.put("groups: members of a machine room share its brokers' queues", Groups::machineRoom);
        all.put("groups: nothing is lost when members come and go", Groups::comeAndGo);
        all.put("groups: the queues of a killed process go to the others", Groups::killed);
        all.put("groups: a topic that grows is spread over the members", Groups::growing);
        return all;
    }

    static DefaultMQPushConsumer member(Scope scope, String group, String topic, AllocateMessageQueueStrategy strategy, Inbox inbox)
            throws Exception {
        DefaultMQPushConsumer consumer = scope.push(group);
        consumer.setAllocateMessageQueueStrategy(strategy);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(inbox.concurrently());
        consumer.start();
        return consumer;
    }

    /** The numbers of the queues that a member consumes now. */
    static Set<Integer> queues(DefaultMQPushConsumer member, String topic) {
        Set<Integer> numbers = new TreeSet<>();
        for (MessageQueue queue : member.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet()) {
            if (queue.getTopic().equals(topic)) {
                numbers.add(queue.getQueueId());
            }
        }
        return numbers;
    }

    private static List<MessageQueue> sorted(DefaultMQPushConsumer member, String topic) throws Exception {
        return member.fetchSubscribeMessageQueues(topic).stream().sorted().toList();
    }

    /** Waits until the members have what the strategy gives each of them. */
    static void settle(String topic, DefaultMQPushConsumer... members) throws Exception {
        List<String> ids = Arrays.stream(members).map(DefaultMQPushConsumer::buildMQClientId).sorted().toList();
        for (DefaultMQPushConsumer member : members) {
            Set<Integer> expected = new TreeSet<>();
            List<MessageQueue> queues = sorted(member, topic);
            member.getAllocateMessageQueueStrategy().allocate(member.getConsumerGroup(), member.buildMQClientId(), queues, ids)
                    .forEach(queue -> expected.add(queue.getQueueId()));
            Check.eventually(member.buildMQClientId() + " has the queues " + expected, () -> queues(member, topic).equals(expected));
        }
    }

    private static void allocation(Scope scope, AllocateMessageQueueStrategy strategy) throws Exception {
        String topic = scope.topic(QUEUES);
        String group = Scope.name("allocation");
        Inbox inbox = new Inbox(scope);
        DefaultMQPushConsumer one = member(scope, group, topic, strategy, inbox);
        DefaultMQPushConsumer two = member(scope, group, topic, strategy, inbox);
        settle(topic, one, two);
        DefaultMQPushConsumer three = member(scope, group, topic, strategy, inbox);
        settle(topic, one, two, three);
        Set<Integer> all = new HashSet<>();
        int count = 0;
        for (DefaultMQPushConsumer member : List.of(one, two, three)) {
            all.addAll(queues(member, topic));
            count += queues(member, topic).size();
        }
        Check.equal(QUEUES, all.size());
        Check.equal(QUEUES, count);
        scope.fill(scope.producer(), topic, 10);
        Check.equal(10L * QUEUES, Inbox.places(inbox.take(10 * QUEUES)));
        two.shutdown();
        settle(topic, one, three);
    }

    /** Even queues lie in one room, odd ones in another, and clients by their ids likewise. */
    private static AllocateMessageQueueStrategy nearby() {
        return new AllocateMachineRoomNearby(new AllocateMessageQueueAveragely(), new AllocateMachineRoomNearby.MachineRoomResolver() {
            @Override
            public String brokerDeployIn(MessageQueue queue) {
                return "room " + queue.getQueueId() % 2;
            }

            @Override
            public String consumerDeployIn(String clientId) {
                return "room " + Math.abs(clientId.hashCode() % 2);
            }
        });
    }

    private static void configured(Scope scope) throws Exception {
        String topic = scope.topic(QUEUES);
        String group = Scope.name("configured");
        List<MessageQueue> queues = Scope.queues(scope.producer(), topic);
        Inbox inbox = new Inbox(scope);
        List<DefaultMQPushConsumer> members = new ArrayList<>();
        for (List<MessageQueue> some : List.of(queues.subList(0, 5), queues.subList(5, QUEUES))) {
            AllocateMessageQueueByConfig strategy = new AllocateMessageQueueByConfig();
            strategy.setMessageQueueList(some);
            members.add(member(scope, group, topic, strategy, inbox));
        }
        scope.fill(scope.producer(), topic, 3);
        inbox.take(3 * QUEUES);
        Check.equal(Set.of(0, 1, 2, 3, 4), queues(members.get(0), topic));
        Check.equal(Set.of(5, 6, 7), queues(members.get(1), topic));
    }

    /** The room is what stands before the "@" in a broker's name. */
    private static void machineRoom(Scope scope) throws Exception {
        String topic = scope.topic(QUEUES);
        String group = Scope.name("machine-room");
        String broker = Scope.queues(scope.producer(), topic).get(0).getBrokerName();
        Check.that(broker.contains("@"), "the server under test names its room: " + broker);
        AllocateMessageQueueByMachineRoom strategy = new AllocateMessageQueueByMachineRoom();
        strategy.setConsumeridcs(Set.of(broker.substring(0, broker.indexOf('@'))));
        Inbox inbox = new Inbox(scope);
        DefaultMQPushConsumer one = member(scope, group, topic, strategy, inbox);
        DefaultMQPushConsumer two = member(scope, group, topic, strategy, inbox);
        settle(topic, one, two);
        scope.fill(scope.producer(), topic, 3);
        inbox.take(3 * QUEUES);
    }

    private static void comeAndGo(Scope scope) throws Exception {
        String topic = scope.topic(QUEUES);
        String group = Scope.name("come-and-go");
        DefaultMQProducer producer = scope.producer();
        Inbox inbox = new Inbox(scope);
        AllocateMessageQueueStrategy strategy = new AllocateMessageQueueAveragely();
        scope.fill(producer, topic, 20);
        DefaultMQPushConsumer one = member(scope, group, topic, strategy, inbox);
        settle(topic, one);
        DefaultMQPushConsumer two = member(scope, group, topic, strategy, inbox);
        scope.fill(producer, topic, 20);
        settle(topic, one, two);
        DefaultMQPushConsumer three = member(scope, group, topic, strategy, inbox);
        scope.fill(producer, topic, 20);
        settle(topic, one, two, three);
        two.shutdown();
        three.shutdown();
        scope.fill(producer, topic, 20);
        settle(topic, one);
        Check.eventually("every message at least once", () -> Inbox.places(inbox.messages()) == 80 * QUEUES);
    }

    /** Another process that is a member of the group and says on its output what it has consumed. */
    private static Process startMember(Scope scope, String group, String topic) throws IOException {
        String java = Path.of(System.getProperty("java.home"), "bin", "java").toString();
        ProcessBuilder builder = new ProcessBuilder(
                java, "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Duser.home=" + System.getProperty("user.home"),
                "-cp", System.getProperty("java.class.path"), "interop.Member", group, topic);
        Process process = builder.redirectError(ProcessBuilder.Redirect.INHERIT).start();
        scope.onClose(process::destroyForcibly);
        return process;
    }

    private static void killed(Scope scope) throws Exception {
        String topic = scope.topic(QUEUES);
        String group = Scope.name("killed");
        DefaultMQProducer producer = scope.producer();
        Process process = startMember(scope, group, topic);
        scope.fill(producer, topic, 5);
        Set<String> theirs = new HashSet<>();
        BufferedReader output = new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
        while (theirs.size() < 5 * QUEUES) {
            String line = output.readLine();
            Check.that(line != null, "the member lives");
            theirs.add(line);
        }
        Inbox inbox = new Inbox(scope);
        DefaultMQPushConsumer here = member(scope, group, topic, new AllocateMessageQueueAveragely(), inbox);
        Check.eventually("half of the queues", () -> queues(here, topic).size() == QUEUES / 2);
        process.destroyForcibly().waitFor();
        Check.eventually("all queues", () -> queues(here, topic).size() == QUEUES);
        scope.fill(producer, topic, 5);
        Check.eventually("every message somewhere", () -> {
            Set<String> places = new HashSet<>(theirs);
            inbox.messages().forEach(message -> places.add(message.getQueueId() + "@" + message.getQueueOffset()));
            return places.size() == 10 * QUEUES;
        });
    }

    private static void growing(Scope scope) throws Exception {
        String topic = scope.topic(2);
        String group = Scope.name("growing");
        Inbox inbox = new Inbox(scope);
        DefaultMQPushConsumer one = member(scope, group, topic, new AllocateMessageQueueAveragely(), inbox);
        DefaultMQPushConsumer two = member(scope, group, topic, new AllocateMessageQueueAveragely(), inbox);
        settle(topic, one, two);
        scope.create(topic, 4);
        // Members learn of new queues from the route, and look at their shares every 20 s.
        Check.eventually("the new queues are shared", () -> {
            one.getDefaultMQPushConsumerImpl().doRebalance();
            two.getDefaultMQPushConsumerImpl().doRebalance();
            return queues(one, topic).size() == 2 && queues(two, topic).size() == 2;
        });
        scope.fill(scope.producer(), topic, 3);
        inbox.take(12);
    }
}
