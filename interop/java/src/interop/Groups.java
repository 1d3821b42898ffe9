package interop;

import static interop.Main.Scenario;

import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.clients.consumer.RoundRobinAssignor;
import org.apache.kafka.clients.consumer.StickyAssignor;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.FencedInstanceIdException;
import org.apache.kafka.common.errors.InconsistentGroupProtocolException;

/** Classic groups: who gets which partitions, and what happens when members come, go and die. */
final class Groups {
    private Groups() {}

    static Map<String, Scenario> scenarios() {
        Map<String, Scenario> all = new TreeMap<>();
        all.put("groups: range gives neighbours to one member", Groups::range);
        all.put("groups: round-robin deals partitions out in turn", Groups::roundRobin);
        for (Class<?> assignor : List.of(RangeAssignor.class, RoundRobinAssignor.class, StickyAssignor.class, CooperativeStickyAssignor.class)) {
            String name = assignor.getSimpleName();
            all.put("groups: with " + name + " nothing is lost when members come and go", broker -> comeAndGo(broker, assignor));
        }
        all.put("groups: cooperative members keep what does not move", Groups::cooperative);
        all.put("groups: sticky members keep what they had", Groups::sticky);
        all.put("groups: a static member comes back without a rebalance", Groups::staticReturn);
        all.put("groups: a static member that stays away loses its partitions", Groups::staticDeath);
        all.put("groups: a second static member of the same name fences the first", Groups::staticFence);
        all.put("groups: a member that stops polling loses its partitions", Groups::idle);
        all.put("groups: members without a common protocol are refused", Groups::inconsistent);
        all.put("groups: a topic that grows is spread over the members", Groups::growing);
        return all;
    }

    /** A member, and what the group told it. */
    private static final class Member implements AutoCloseable {
        final Consumer<String, String> consumer;
        final List<Set<TopicPartition>> revoked = new ArrayList<>();
        int assignments;
        final List<ConsumerRecord<String, String>> records = new ArrayList<>();

        Member(Broker broker, String group, String topic, Class<?> assignor, Object... overrides) {
            Object[] all = new Object[overrides.length + 4];
            System.arraycopy(new Object[] {"group.id", group, "partition.assignment.strategy", assignor.getName()}, 0, all, 0, 4);
            System.arraycopy(overrides, 0, all, 4, overrides.length);
            consumer = broker.consumer(all);
            consumer.subscribe(List.of(topic), new ConsumerRebalanceListener() {
                @Override
                public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
                    assignments++;
                }

                @Override
                public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
                    revoked.add(new HashSet<>(partitions));
                    try {
                        consumer.commitSync();
                    } catch (CommitFailedException | FencedInstanceIdException notMineAnyMore) {
                        // Whoever has the partition now reads again what was not committed.
                    }
                }
            });
        }

        void poll() {
            consumer.poll(Duration.ofMillis(50)).forEach(records::add);
        }

        Set<Integer> partitions() {
            Set<Integer> numbers = new TreeSet<>();
            consumer.assignment().forEach(partition -> numbers.add(partition.partition()));
            return numbers;
        }

        @Override
        public void close() {
            consumer.close();
        }
    }

    /** Polls the members in turn until each has so many partitions and no two have the same. */
    private static void settle(int each, Member... members) throws Exception {
        Check.eventually("each member has " + each + " partitions", () -> {
            Set<Integer> all = new HashSet<>();
            int count = 0;
            for (Member member : members) {
                member.poll();
            }
            for (Member member : members) {
                all.addAll(member.partitions());
                count += member.partitions().size() == each ? 1 : 0;
            }
            return count == members.length && all.size() == each * members.length;
        });
    }

    private static void range(Broker broker) throws Exception {
        String topic = broker.topic(6);
        String group = Broker.name("range");
        try (Member one = new Member(broker, group, topic, RangeAssignor.class);
                Member two = new Member(broker, group, topic, RangeAssignor.class)) {
            settle(3, one, two);
            Check.equal(Set.of(Set.of(0, 1, 2), Set.of(3, 4, 5)), Set.of(one.partitions(), two.partitions()));
        }
    }

    private static void roundRobin(Broker broker) throws Exception {
        String topic = broker.topic(6);
        String group = Broker.name("round-robin");
        try (Member one = new Member(broker, group, topic, RoundRobinAssignor.class);
                Member two = new Member(broker, group, topic, RoundRobinAssignor.class)) {
            settle(3, one, two);
            Check.equal(Set.of(Set.of(0, 2, 4), Set.of(1, 3, 5)), Set.of(one.partitions(), two.partitions()));
        }
    }

    private static void comeAndGo(Broker broker, Class<?> assignor) throws Exception {
        String topic = broker.topic(6);
        String group = Broker.name("come-and-go");
        broker.fill(topic, 6, 50);
        List<ConsumerRecord<String, String>> records = new ArrayList<>();
        try (Member one = new Member(broker, group, topic, assignor)) {
            settle(6, one);
            try (Member two = new Member(broker, group, topic, assignor); Member three = new Member(broker, group, topic, assignor)) {
                settle(2, one, two, three);
                broker.fill(topic, 6, 50);
                Check.eventually("all records at three members", () -> {
                    for (Member member : List.of(one, two, three)) {
                        member.poll();
                    }
                    return one.records.size() + two.records.size() + three.records.size() >= 600;
                });
                two.consumer.commitSync();
                three.consumer.commitSync();
                records.addAll(two.records);
                records.addAll(three.records);
            }
            settle(6, one);
            broker.fill(topic, 6, 10);
            Check.eventually("the rest at the last member", () -> {
                one.poll();
                return one.records.size() + records.size() >= 660;
            });
            records.addAll(one.records);
        }
        Set<String> places = new HashSet<>();
        records.forEach(record -> places.add(record.partition() + "@" + record.offset()));
        Check.equal(660, places.size());
        Check.equal(660, records.size());
    }

    private static void cooperative(Broker broker) throws Exception {
        String topic = broker.topic(6);
        String group = Broker.name("cooperative");
        try (Member one = new Member(broker, group, topic, CooperativeStickyAssignor.class);
                Member two = new Member(broker, group, topic, CooperativeStickyAssignor.class)) {
            settle(3, one, two);
            Set<Integer> before = one.partitions();
            one.revoked.clear();
            try (Member three = new Member(broker, group, topic, CooperativeStickyAssignor.class)) {
                settle(2, one, two, three);
                Check.that(before.containsAll(one.partitions()), "it keeps two of its own: " + before + ", " + one.partitions());
                one.revoked.removeIf(Set::isEmpty);
                Check.equal(List.of(1), one.revoked.stream().map(Set::size).toList());
            }
        }
    }

    private static void sticky(Broker broker) throws Exception {
        String topic = broker.topic(6);
        String group = Broker.name("sticky");
        try (Member one = new Member(broker, group, topic, StickyAssignor.class);
                Member two = new Member(broker, group, topic, StickyAssignor.class)) {
            settle(3, one, two);
            Map<Member, Set<Integer>> before = new HashMap<>(Map.of(one, one.partitions(), two, two.partitions()));
            try (Member three = new Member(broker, group, topic, StickyAssignor.class)) {
                settle(2, one, two, three);
                before.forEach((member, had) -> Check.that(had.containsAll(member.partitions()), had + " became " + member.partitions()));
            }
        }
    }

    private static void staticReturn(Broker broker) throws Exception {
        String topic = broker.topic(4);
        String group = Broker.name("static");
        try (Member stays = new Member(broker, group, topic, RangeAssignor.class, "group.instance.id", "stays", "session.timeout.ms", 20_000)) {
            Member leaves = new Member(broker, group, topic, RangeAssignor.class, "group.instance.id", "leaves", "session.timeout.ms", 20_000);
            settle(2, stays, leaves);
            Set<Integer> had = leaves.partitions();
            int assignments = stays.assignments;
            leaves.close();
            try (Member returns = new Member(broker, group, topic, RangeAssignor.class, "group.instance.id", "leaves", "session.timeout.ms", 20_000)) {
                settle(2, stays, returns);
                Check.equal(had, returns.partitions());
                Check.equal(assignments, stays.assignments);
            }
        }
    }

    private static void staticDeath(Broker broker) throws Exception {
        String topic = broker.topic(4);
        String group = Broker.name("static-death");
        try (Member stays = new Member(broker, group, topic, RangeAssignor.class)) {
            // A static member's close sends no LeaveGroup: to the group it looks like a death.
            Member dies = new Member(broker, group, topic, RangeAssignor.class, "group.instance.id", "dies");
            settle(2, stays, dies);
            dies.close();
            stays.poll();
            Check.equal(2, stays.partitions().size());
            settle(4, stays);
        }
    }

    private static void staticFence(Broker broker) throws Exception {
        String topic = broker.topic(2);
        String group = Broker.name("fence");
        try (Member first = new Member(broker, group, topic, RangeAssignor.class, "group.instance.id", "same")) {
            settle(2, first);
            try (Member second = new Member(broker, group, topic, RangeAssignor.class, "group.instance.id", "same")) {
                settle(2, second);
                Check.fails(FencedInstanceIdException.class, () -> {
                    Check.eventually("the first is fenced", () -> {
                        first.poll();
                        return false;
                    });
                    return null;
                });
            } finally {
                first.consumer.unsubscribe();
            }
        }
    }

    private static void idle(Broker broker) throws Exception {
        String topic = broker.topic(4);
        String group = Broker.name("idle");
        try (Member active = new Member(broker, group, topic, RangeAssignor.class);
                Member idle = new Member(broker, group, topic, RangeAssignor.class, "max.poll.interval.ms", 3000)) {
            settle(2, active, idle);
            settle(4, active);
        }
    }

    private static void inconsistent(Broker broker) throws Exception {
        String topic = broker.topic(2);
        String group = Broker.name("inconsistent");
        try (Member first = new Member(broker, group, topic, RangeAssignor.class);
                Member other = new Member(broker, group, topic, RoundRobinAssignor.class)) {
            settle(2, first);
            Check.fails(InconsistentGroupProtocolException.class, () -> {
                settle(1, first, other);
                return null;
            });
        }
    }

    private static void growing(Broker broker) throws Exception {
        String topic = broker.topic(2);
        String group = Broker.name("growing");
        try (Member one = new Member(broker, group, topic, RangeAssignor.class);
                Member two = new Member(broker, group, topic, RangeAssignor.class);
                var admin = broker.admin()) {
            settle(1, one, two);
            admin.createPartitions(Map.of(topic, org.apache.kafka.clients.admin.NewPartitions.increaseTo(4))).all().get();
            settle(2, one, two);
        }
    }
}
