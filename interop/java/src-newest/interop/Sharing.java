package interop;

import static interop.Main.Scenario;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.GroupListing;
import org.apache.kafka.clients.admin.ListGroupsOptions;
import org.apache.kafka.clients.admin.ListShareGroupOffsetsSpec;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.ShareGroupDescription;
import org.apache.kafka.clients.admin.SharePartitionOffsetInfo;
import org.apache.kafka.clients.consumer.AcknowledgeType;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;
import org.apache.kafka.clients.consumer.ShareConsumer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.GroupType;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicIdPartition;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.errors.InconsistentGroupProtocolException;
import org.apache.kafka.common.errors.InvalidRecordStateException;
import org.apache.kafka.common.serialization.StringDeserializer;

/** Share groups: consumers that share the records of partitions, and say of each what became of it. */
final class Sharing {
    /** The shortest that Kafka allows. */
    private static final int LOCK_MS = 15_000;
    /** A share group's members are told to come every 5 s, so what one of them must hear of takes a while. */
    private static final long PATIENCE_MS = 60_000;

    private Sharing() {}

    static Map<String, Scenario> scenarios() {
        Map<String, Scenario> all = new TreeMap<>();
        all.put("share: polling again says that what came is done", Sharing::implicit);
        all.put("share: records are accepted, given back and rejected", Sharing::explicit);
        all.put("share: a lock runs out, and what somebody else has cannot be acknowledged", Sharing::expiry);
        all.put("share: a renewed lock holds", Sharing::renewal);
        all.put("share: what a consumer that closes has goes to another one", Sharing::closing);
        all.put("share: several consumers share one partition", Sharing::onePartition);
        all.put("share: new partitions and other topics are consumed", Sharing::changes);
        all.put("share: a topic that goes does not hold up the other", Sharing::deletedTopic);
        all.put("share: a record that is given back too often is given up", Sharing::poison);
        all.put("share: records of a key come in their order, whatever becomes of them", Sharing::keyOrder);
        all.put("share: what is given up becomes a dead letter", Sharing::deadLetters);
        all.put("share: a group begins at the end unless told otherwise", Sharing::beginning);
        all.put("share: an id is one kind of group", Sharing::kinds);
        all.put("share: groups are listed, described and deleted", Sharing::administration);
        all.put("share: start offsets are listed, set and deleted", Sharing::offsets);
        return all;
    }

    /** Those that have the server restarted. */
    static Map<String, Scenario> restarts() {
        Map<String, Scenario> all = new TreeMap<>();
        all.put("restart: a share group goes on after a restart", broker -> interrupted(broker, Broker::stopAndStart));
        all.put("restart: a share group goes on after kill -9", broker -> interrupted(broker, Broker::killAndStart));
        all.put("restart: dead letters come once each after a restart", broker -> buried(broker, Broker::stopAndStart));
        all.put("restart: dead letters come once each after kill -9", broker -> buried(broker, Broker::killAndStart));
        return all;
    }

    /** A group that begins at the start of its topics; the rest are its configs, key after value. */
    private static String group(Broker broker, String... configs) throws Exception {
        String group = Broker.name("share");
        configure(broker, group, "share.auto.offset.reset", "earliest");
        for (int at = 0; at < configs.length; at += 2) {
            configure(broker, group, configs[at], configs[at + 1]);
        }
        return group;
    }

    private static void configure(Broker broker, String group, String key, String value) throws Exception {
        ConfigResource resource = new ConfigResource(ConfigResource.Type.GROUP, group);
        try (Admin admin = broker.admin()) {
            admin.incrementalAlterConfigs(Map.of(resource,
                    List.of(new AlterConfigOp(new ConfigEntry(key, value), AlterConfigOp.OpType.SET)))).all().get();
        }
    }

    private static ShareConsumer<String, String> consumer(Broker broker, String group, Object... overrides) {
        Map<String, Object> all = new HashMap<>(Map.of(
                "bootstrap.servers", broker.bootstrap(), "group.id", group, "metadata.max.age.ms", 1000, "max.poll.records", 100));
        for (int at = 0; at < overrides.length; at += 2) {
            all.put((String) overrides[at], overrides[at + 1]);
        }
        return new KafkaShareConsumer<>(all, new StringDeserializer(), new StringDeserializer());
    }

    private static ShareConsumer<String, String> explicitConsumer(Broker broker, String group, Object... overrides) {
        Object[] all = new Object[overrides.length + 2];
        System.arraycopy(overrides, 0, all, 0, overrides.length);
        all[overrides.length] = "share.acknowledgement.mode";
        all[overrides.length + 1] = "explicit";
        return consumer(broker, group, all);
    }

    private static List<ConsumerRecord<String, String>> poll(ShareConsumer<String, String> consumer) {
        List<ConsumerRecord<String, String>> records = new ArrayList<>();
        consumer.poll(Duration.ofMillis(200)).forEach(records::add);
        return records;
    }

    /** The next records, without a word about them. */
    private static List<ConsumerRecord<String, String>> next(ShareConsumer<String, String> consumer) throws Exception {
        List<ConsumerRecord<String, String>> records = new ArrayList<>();
        Check.eventually("records", PATIENCE_MS, () -> {
            records.addAll(poll(consumer));
            return !records.isEmpty();
        });
        return records;
    }

    /** Says the same of all of them, and that it was taken. */
    private static void acknowledge(ShareConsumer<String, String> consumer, List<ConsumerRecord<String, String>> records, AcknowledgeType type) {
        records.forEach(record -> consumer.acknowledge(record, type));
        settled(consumer.commitSync());
    }

    private static void settled(Map<TopicIdPartition, Optional<KafkaException>> outcomes) {
        outcomes.forEach((partition, problem) -> Check.equal(Optional.empty(), problem));
    }

    private static List<String> numbers(int count) {
        return IntStream.range(0, count).mapToObj(Integer::toString).toList();
    }

    private static void implicit(Broker broker) throws Exception {
        String topic = broker.topic(2);
        String group = group(broker);
        broker.fill(topic, 2, 150);
        List<String> values = new ArrayList<>();
        try (ShareConsumer<String, String> consumer = consumer(broker, group)) {
            consumer.subscribe(List.of(topic));
            Check.eventually("300 records", PATIENCE_MS, () -> {
                poll(consumer).forEach(record -> values.add(record.partition() + "/" + record.value()));
                return values.size() >= 300;
            });
            settled(consumer.commitSync());
        }
        Check.equal(300, new HashSet<>(values).size());
        Check.equal(300, values.size());
        broker.fill(topic, 1, 1);
        try (ShareConsumer<String, String> consumer = consumer(broker, group)) {
            consumer.subscribe(List.of(topic));
            List<ConsumerRecord<String, String>> later = next(consumer);
            Check.equal(List.of(150L), later.stream().map(ConsumerRecord::offset).toList());
        }
    }

    private static void explicit(Broker broker) throws Exception {
        String topic = broker.topic(1);
        broker.fill(topic, 1, 9);
        try (ShareConsumer<String, String> consumer = explicitConsumer(broker, group(broker))) {
            consumer.subscribe(List.of(topic));
            List<ConsumerRecord<String, String>> first = new ArrayList<>(next(consumer));
            Check.equal(9, first.size());
            for (ConsumerRecord<String, String> record : first) {
                Check.equal(Optional.of((short) 1), record.deliveryCount());
                AcknowledgeType[] kinds = {AcknowledgeType.ACCEPT, AcknowledgeType.RELEASE, AcknowledgeType.REJECT};
                consumer.acknowledge(record, kinds[Integer.parseInt(record.value()) % 3]);
            }
            settled(consumer.commitSync());
            List<ConsumerRecord<String, String>> again = new ArrayList<>();
            Check.eventually("what was given back", PATIENCE_MS, () -> {
                List<ConsumerRecord<String, String>> some = poll(consumer);
                acknowledge(consumer, some, AcknowledgeType.ACCEPT);
                again.addAll(some);
                return again.size() >= 3;
            });
            Check.equal(Set.of("1", "4", "7"), again.stream().map(ConsumerRecord::value).collect(Collectors.toSet()));
            again.forEach(record -> Check.equal(Optional.of((short) 2), record.deliveryCount()));
            broker.fill(topic, 1, 1);
            List<ConsumerRecord<String, String>> last = next(consumer);
            Check.equal(List.of(9L), last.stream().map(ConsumerRecord::offset).toList());
            acknowledge(consumer, last, AcknowledgeType.ACCEPT);
        }
    }

    private static void expiry(Broker broker) throws Exception {
        String topic = broker.topic(1);
        broker.fill(topic, 1, 1);
        String group = group(broker, "share.record.lock.duration.ms", Integer.toString(LOCK_MS));
        try (ShareConsumer<String, String> slow = explicitConsumer(broker, group); ShareConsumer<String, String> other = explicitConsumer(broker, group)) {
            slow.subscribe(List.of(topic));
            List<ConsumerRecord<String, String>> lost = next(slow);
            other.subscribe(List.of(topic));
            List<ConsumerRecord<String, String>> again = next(other);
            // More often if this one was too slow, too.
            Check.that(again.size() == 1 && again.get(0).deliveryCount().orElse((short) 0) >= 2, "it was delivered before: " + again);
            lost.forEach(slow::acknowledge);
            List<Optional<KafkaException>> outcomes = List.copyOf(slow.commitSync().values());
            Check.equal(1, outcomes.size());
            Check.that(outcomes.get(0).orElse(null) instanceof InvalidRecordStateException, outcomes.toString());
            acknowledge(other, again, AcknowledgeType.ACCEPT);
        }
    }

    private static void renewal(Broker broker) throws Exception {
        String topic = broker.topic(1);
        broker.fill(topic, 1, 1);
        String group = group(broker, "share.record.lock.duration.ms", Integer.toString(LOCK_MS));
        try (ShareConsumer<String, String> holder = explicitConsumer(broker, group); ShareConsumer<String, String> other = explicitConsumer(broker, group)) {
            holder.subscribe(List.of(topic));
            List<ConsumerRecord<String, String>> held = next(holder);
            Check.equal(Optional.of(LOCK_MS), holder.acquisitionLockTimeoutMs());
            other.subscribe(List.of(topic));
            long begin = System.nanoTime();
            while (System.nanoTime() - begin < 2L * LOCK_MS * 1_000_000) {
                acknowledge(holder, held, AcknowledgeType.RENEW);
                Check.equal(List.of(), poll(other));
                Thread.sleep(1000);
                // The client gives what is renewed again.
                held = next(holder);
                Check.equal(List.of(0L), held.stream().map(ConsumerRecord::offset).toList());
            }
            acknowledge(holder, held, AcknowledgeType.ACCEPT);
        }
    }

    private static void closing(Broker broker) throws Exception {
        String topic = broker.topic(1);
        broker.fill(topic, 1, 20);
        String group = group(broker);
        try (ShareConsumer<String, String> first = explicitConsumer(broker, group)) {
            first.subscribe(List.of(topic));
            Check.equal(20, next(first).size());
        }
        try (ShareConsumer<String, String> second = explicitConsumer(broker, group)) {
            second.subscribe(List.of(topic));
            List<ConsumerRecord<String, String>> records = next(second);
            Check.equal(numbers(20), Broker.values(records));
            acknowledge(second, records, AcknowledgeType.ACCEPT);
        }
    }

    /** Each has a thread of its own, as clients have. */
    private static void onePartition(Broker broker) throws Exception {
        String topic = broker.topic(1);
        String group = group(broker);
        int count = 600;
        Map<String, String> owners = new ConcurrentHashMap<>();
        List<String> twice = java.util.Collections.synchronizedList(new ArrayList<>());
        List<Thread> threads = new ArrayList<>();
        for (String name : List.of("a", "b", "c")) {
            Thread thread = new Thread(() -> {
                try (ShareConsumer<String, String> consumer = explicitConsumer(broker, group, "max.poll.records", 10)) {
                    consumer.subscribe(List.of(topic));
                    while (owners.size() < count) {
                        List<ConsumerRecord<String, String>> records = poll(consumer);
                        records.stream().filter(record -> owners.put(record.value(), name) != null).forEach(record -> twice.add(record.value()));
                        acknowledge(consumer, records, AcknowledgeType.ACCEPT);
                    }
                }
            });
            thread.start();
            threads.add(thread);
        }
        try (Producer<String, String> producer = broker.producer()) {
            for (String value : numbers(count)) {
                producer.send(new ProducerRecord<>(topic, value)).get();
            }
        }
        for (Thread thread : threads) {
            thread.join(PATIENCE_MS);
            Check.that(!thread.isAlive(), "all records have come: " + owners.size());
        }
        Check.equal(List.of(), twice);
        Check.that(Set.copyOf(owners.values()).size() > 1, "more than one consumer had records");
    }

    private static void changes(Broker broker) throws Exception {
        String first = broker.topic(1);
        String second = broker.topic(1);
        try (ShareConsumer<String, String> consumer = consumer(broker, group(broker)); Admin admin = broker.admin()) {
            consumer.subscribe(List.of(first));
            broker.fill(first, 1, 1);
            Check.equal(first, next(consumer).get(0).topic());
            admin.createPartitions(Map.of(first, NewPartitions.increaseTo(3))).all().get();
            Broker.online(admin, first, 3);
            broker.fill(first, 3, 1);
            Set<Integer> partitions = new TreeSet<>();
            Check.eventually("records of all partitions", PATIENCE_MS, () -> {
                poll(consumer).forEach(record -> partitions.add(record.partition()));
                return partitions.equals(Set.of(0, 1, 2));
            });
            consumer.subscribe(List.of(second));
            broker.fill(second, 1, 1);
            Check.eventually("a record of the other topic", PATIENCE_MS, () -> poll(consumer).stream().anyMatch(record -> record.topic().equals(second)));
            // A fetch that is on its way still asks for the first.
            Check.eventually("records of the other topic only", PATIENCE_MS, () -> {
                broker.fill(first, 1, 1);
                broker.fill(second, 1, 1);
                return next(consumer).stream().allMatch(record -> record.topic().equals(second));
            });
        }
    }

    private static void deletedTopic(Broker broker) throws Exception {
        String gone = broker.topic(2);
        String kept = broker.topic(1);
        try (ShareConsumer<String, String> consumer = consumer(broker, group(broker)); Admin admin = broker.admin()) {
            consumer.subscribe(List.of(gone, kept));
            broker.fill(gone, 2, 5);
            broker.fill(kept, 1, 5);
            Set<String> seen = new TreeSet<>();
            Check.eventually("records of both", PATIENCE_MS, () -> {
                poll(consumer).forEach(record -> seen.add(record.topic()));
                return seen.size() == 2;
            });
            admin.deleteTopics(List.of(gone)).all().get();
            broker.fill(kept, 1, 1);
            Check.eventually("a record of the topic that is left", PATIENCE_MS, () -> poll(consumer).stream().anyMatch(record -> record.offset() == 5));
        }
    }

    private static void poison(Broker broker) throws Exception {
        String topic = broker.topic(1);
        broker.fill(topic, 1, 1);
        try (ShareConsumer<String, String> consumer = explicitConsumer(broker, group(broker, "share.delivery.count.limit", "3"))) {
            consumer.subscribe(List.of(topic));
            for (short delivery = 1; delivery <= 3; delivery++) {
                List<ConsumerRecord<String, String>> records = next(consumer);
                Check.equal(List.of(Optional.of(delivery)), records.stream().map(ConsumerRecord::deliveryCount).toList());
                acknowledge(consumer, records, AcknowledgeType.RELEASE);
            }
            broker.fill(topic, 1, 1);
            List<ConsumerRecord<String, String>> next = next(consumer);
            Check.equal(List.of(1L), next.stream().map(ConsumerRecord::offset).toList());
            acknowledge(consumer, next, AcknowledgeType.ACCEPT);
        }
    }

    /** Consumers that accept, give back, reject and fall silent: nobody gets a record while one before it of its key is not done with. */
    private static void keyOrder(Broker broker) throws Exception {
        String topic = broker.topic(1);
        String group = group(broker, "share.ordering", "key", "share.record.lock.duration.ms", Integer.toString(LOCK_MS));
        try (Admin admin = broker.admin()) {
            ConfigResource resource = new ConfigResource(ConfigResource.Type.GROUP, group);
            Check.equal("key", admin.describeConfigs(List.of(resource)).all().get().get(resource).get("share.ordering").value());
        }
        int keys = 7;
        int each = 25;
        try (Producer<String, String> producer = broker.producer()) {
            for (int number = 0; number < each; number++) {
                for (int key = 0; key < keys; key++) {
                    producer.send(new ProducerRecord<>(topic, "k" + key, Integer.toString(number)));
                }
            }
        }
        // Of each key, what somebody is done with, or may be: it is noted before it is said.
        Map<String, Integer> done = new ConcurrentHashMap<>();
        List<String> wrong = java.util.Collections.synchronizedList(new ArrayList<>());
        Set<String> members = ConcurrentHashMap.newKeySet();
        List<Thread> threads = new ArrayList<>();
        for (String name : List.of("a", "b", "c")) {
            Thread thread = new Thread(() -> {
                try (ShareConsumer<String, String> consumer = explicitConsumer(broker, group, "max.poll.records", 5)) {
                    consumer.subscribe(List.of(topic));
                    boolean hasSlept = false;
                    while (done.values().stream().mapToInt(Integer::intValue).sum() < keys * each) {
                        List<ConsumerRecord<String, String>> records = poll(consumer);
                        for (ConsumerRecord<String, String> record : records) {
                            members.add(name);
                            int number = Integer.parseInt(record.value());
                            if (done.getOrDefault(record.key(), 0) != number) {
                                wrong.add(record.key() + "/" + number + " to " + name + " after " + done.get(record.key()));
                            }
                        }
                        if (name.equals("c") && !hasSlept && !records.isEmpty()) {
                            // What it has goes to the others, and its word counts for nothing.
                            hasSlept = true;
                            Thread.sleep(LOCK_MS * 3 / 2);
                            records.forEach(record -> consumer.acknowledge(record, AcknowledgeType.RELEASE));
                            consumer.commitSync();
                            continue;
                        }
                        for (ConsumerRecord<String, String> record : records) {
                            int number = Integer.parseInt(record.value());
                            boolean isFirst = record.deliveryCount().orElse((short) 1) == 1;
                            AcknowledgeType type = isFirst && number % 4 == 1 ? AcknowledgeType.RELEASE
                                    : number % 4 == 2 ? AcknowledgeType.REJECT : AcknowledgeType.ACCEPT;
                            if (type != AcknowledgeType.RELEASE) {
                                done.put(record.key(), number + 1);
                            }
                            consumer.acknowledge(record, type);
                        }
                        settled(consumer.commitSync());
                    }
                } catch (InterruptedException e) {
                    throw new IllegalStateException(e);
                }
            });
            thread.start();
            threads.add(thread);
        }
        for (Thread thread : threads) {
            thread.join(3 * PATIENCE_MS);
            Check.that(!thread.isAlive(), "all records are done with: " + done);
        }
        Check.equal(List.of(), wrong);
        Check.that(members.size() > 1, "more than one consumer had records");
    }

    /** A group with a topic for dead letters; the topic. */
    private static String lettersOf(Broker broker, String group) throws Exception {
        String topic = "dlq." + group;
        try (Admin admin = broker.admin()) {
            NewTopic letters = new NewTopic(topic, 1, (short) -1).configs(Map.of("errors.deadletterqueue.group.enable", "true"));
            admin.createTopics(List.of(letters)).all().get();
            Broker.online(admin, topic, 1);
        }
        configure(broker, group, "errors.deadletterqueue.topic.name", topic);
        return topic;
    }

    private static String header(ConsumerRecord<String, String> record, String name) {
        return new String(record.headers().lastHeader(name).value(), java.nio.charset.StandardCharsets.UTF_8);
    }

    private static void deadLetters(Broker broker) throws Exception {
        String topic = broker.topic(1);
        String group = group(broker, "share.delivery.count.limit", "2");
        String letters = lettersOf(broker, group);
        try (Producer<String, String> producer = broker.producer()) {
            for (String value : List.of("rejected", "accepted", "released")) {
                ProducerRecord<String, String> record = new ProducerRecord<>(topic, "key of " + value, value);
                record.headers().add("own", "header".getBytes());
                producer.send(record).get();
            }
        }
        try (ShareConsumer<String, String> consumer = explicitConsumer(broker, group)) {
            consumer.subscribe(List.of(topic));
            Map<String, AcknowledgeType> types = Map.of("rejected", AcknowledgeType.REJECT, "accepted", AcknowledgeType.ACCEPT, "released", AcknowledgeType.RELEASE);
            int[] answered = {0};
            Check.eventually("all are answered", PATIENCE_MS, () -> {
                List<ConsumerRecord<String, String>> records = poll(consumer);
                records.forEach(record -> consumer.acknowledge(record, types.get(record.value())));
                settled(consumer.commitSync());
                answered[0] += records.size();
                return answered[0] >= 4;
            });
        }
        try (Consumer<String, String> reader = broker.consumer()) {
            reader.assign(List.of(new TopicPartition(letters, 0)));
            List<ConsumerRecord<String, String>> read = Broker.take(reader, 2);
            Check.equal(List.of("rejected", "released"), Broker.values(read));
            List<String> names = List.of("own", "__dlq.errors.topic", "__dlq.errors.partition", "__dlq.errors.offset", "__dlq.errors.group", "__dlq.errors.delivery.count", "__dlq.errors.message");
            List<List<String>> expected = List.of(
                    List.of("header", topic, "0", "0", group, "1", "Offset rejected by client."),
                    List.of("header", topic, "0", "2", group, "2", "Offset delivery count exceeded the threshold."));
            for (int at = 0; at < 2; at++) {
                ConsumerRecord<String, String> record = read.get(at);
                Check.equal("key of " + record.value(), record.key());
                Check.equal(expected.get(at), names.stream().map(name -> header(record, name)).toList());
            }
        }
        try (Admin admin = broker.admin()) {
            Check.eventually("the start is behind them", PATIENCE_MS, () -> start(admin, group, new TopicPartition(topic, 0)).map(SharePartitionOffsetInfo::startOffset).equals(Optional.of(3L)));
        }
    }

    /** Everything is rejected while the server goes; each record is one dead letter. */
    private static void buried(Broker broker, Interruption interruption) throws Exception {
        String topic = broker.topic(1);
        String group = group(broker, "share.record.lock.duration.ms", Integer.toString(LOCK_MS), "share.delivery.count.limit", "100");
        String letters = lettersOf(broker, group);
        int count = 400;
        broker.fill(topic, 1, count);
        try (ShareConsumer<String, String> consumer = explicitConsumer(broker, group, "max.poll.records", 20)) {
            consumer.subscribe(List.of(topic));
            Set<String> rejected = new HashSet<>();
            boolean[] isInterrupted = {false};
            Check.eventually("all are rejected", 3 * PATIENCE_MS, () -> {
                List<ConsumerRecord<String, String>> records = poll(consumer);
                records.forEach(record -> consumer.acknowledge(record, AcknowledgeType.REJECT));
                boolean isTaken = consumer.commitSync().values().stream().allMatch(Optional::isEmpty);
                if (isTaken) {
                    records.forEach(record -> rejected.add(record.value()));
                }
                if (rejected.size() >= count / 2 && !isInterrupted[0]) {
                    isInterrupted[0] = true;
                    interruption.of(broker);
                }
                // Of some the answer was lost; those do not come again.
                try (Admin admin = broker.admin()) {
                    return start(admin, group, new TopicPartition(topic, 0)).map(SharePartitionOffsetInfo::startOffset).equals(Optional.of((long) count));
                }
            });
        }
        try (Consumer<String, String> reader = broker.consumer()) {
            TopicPartition partition = new TopicPartition(letters, 0);
            reader.assign(List.of(partition));
            Check.equal((long) count, reader.endOffsets(List.of(partition)).get(partition));
            Check.equal(new HashSet<>(numbers(count)), new HashSet<>(Broker.values(Broker.take(reader, count))));
        }
    }

    private static void beginning(Broker broker) throws Exception {
        String topic = broker.topic(1);
        broker.fill(topic, 1, 10);
        String group = Broker.name("share");
        try (ShareConsumer<String, String> consumer = consumer(broker, group)) {
            consumer.subscribe(List.of(topic));
            // Until it reads, there is no telling where the end is that it begins at.
            long[] sent = {10};
            List<ConsumerRecord<String, String>> records = new ArrayList<>();
            Check.eventually("a record", PATIENCE_MS, () -> {
                records.addAll(poll(consumer));
                broker.fill(topic, 1, 1);
                sent[0]++;
                return !records.isEmpty();
            });
            Check.that(records.get(0).offset() >= 10, "it began at " + records.get(0).offset());
        }
    }

    private static void kinds(Broker broker) throws Exception {
        String topic = broker.topic(1);
        broker.fill(topic, 1, 1);
        String shared = group(broker);
        try (ShareConsumer<String, String> consumer = consumer(broker, shared)) {
            consumer.subscribe(List.of(topic));
            next(consumer);
            try (Consumer<String, String> classic = broker.consumer("group.id", shared)) {
                classic.subscribe(List.of(topic));
                Check.fails(InconsistentGroupProtocolException.class, () -> Broker.take(classic, 1));
            }
        }
        String classic = Broker.name("classic");
        try (Consumer<String, String> consumer = broker.consumer("group.id", classic)) {
            consumer.subscribe(List.of(topic));
            Broker.take(consumer, 1);
            consumer.commitSync();
            try (ShareConsumer<String, String> share = consumer(broker, classic)) {
                share.subscribe(List.of(topic));
                Check.fails(GroupIdNotFoundException.class, () -> next(share));
            }
        }
        try (Admin admin = broker.admin()) {
            Check.fails(GroupIdNotFoundException.class, () -> admin.describeShareGroups(List.of(classic)).all().get());
        }
    }

    private static void administration(Broker broker) throws Exception {
        String topic = broker.topic(3);
        broker.fill(topic, 3, 2);
        String group = group(broker);
        try (Admin admin = broker.admin()) {
            try (ShareConsumer<String, String> consumer = consumer(broker, group)) {
                consumer.subscribe(List.of(topic));
                next(consumer);
                ShareGroupDescription described = admin.describeShareGroups(List.of(group)).all().get().get(group);
                Check.equal(GroupState.STABLE, described.groupState());
                Check.equal(1, described.members().size());
                Check.equal(Set.copyOf(Broker.partitions(topic, 3)), described.members().iterator().next().assignment().topicPartitions());
                List<GroupListing> listed = admin.listGroups(ListGroupsOptions.forShareGroups()).all().get().stream()
                        .filter(one -> one.groupId().equals(group)).toList();
                Check.equal(List.of(Optional.of(GroupType.SHARE)), listed.stream().map(GroupListing::type).toList());
                Check.that(admin.listGroups(ListGroupsOptions.forConsumerGroups()).all().get().stream().noneMatch(one -> one.groupId().equals(group)), "no consumer group");
                Check.fails(GroupNotEmptyException.class, () -> admin.deleteShareGroups(List.of(group)).all().get());
            }
            Check.eventually("nobody is there", PATIENCE_MS, () -> admin.describeShareGroups(List.of(group)).all().get().get(group).groupState() == GroupState.EMPTY);
            admin.deleteShareGroups(List.of(group)).all().get();
            Check.fails(GroupIdNotFoundException.class, () -> admin.describeShareGroups(List.of(group)).all().get());
        }
        // Another group of that id has read nothing.
        try (ShareConsumer<String, String> consumer = consumer(broker, group)) {
            consumer.subscribe(List.of(topic));
            Set<String> values = new TreeSet<>();
            Check.eventually("all records", PATIENCE_MS, () -> {
                poll(consumer).forEach(record -> values.add(record.partition() + "/" + record.offset()));
                return values.size() == 6;
            });
        }
    }

    private static void offsets(Broker broker) throws Exception {
        String topic = broker.topic(1);
        TopicPartition partition = new TopicPartition(topic, 0);
        broker.fill(topic, 1, 10);
        String group = group(broker);
        try (Admin admin = broker.admin()) {
            read(broker, group, topic, 10);
            Check.eventually("the start is behind what was read", PATIENCE_MS, () -> start(admin, group, partition).map(SharePartitionOffsetInfo::startOffset).equals(Optional.of(10L)));
            Check.equal(Optional.of(Optional.of(0L)), start(admin, group, partition).map(SharePartitionOffsetInfo::lag));
            admin.alterShareGroupOffsets(group, Map.of(partition, 7L)).all().get();
            Check.equal(Optional.of(7L), start(admin, group, partition).map(SharePartitionOffsetInfo::startOffset));
            Check.equal(List.of("7", "8", "9"), read(broker, group, topic, 3));
            admin.deleteShareGroupOffsets(group, Set.of(topic)).all().get();
            Check.equal(Optional.empty(), start(admin, group, partition));
            Check.equal(numbers(10), read(broker, group, topic, 10));
            // Of a group that is not there yet.
            String other = group(broker);
            admin.alterShareGroupOffsets(other, Map.of(partition, 8L)).all().get();
            Check.equal(List.of("8", "9"), read(broker, other, topic, 2));
        }
    }

    private static Optional<SharePartitionOffsetInfo> start(Admin admin, String group, TopicPartition partition) throws Exception {
        var offsets = admin.listShareGroupOffsets(Map.of(group, new ListShareGroupOffsetsSpec())).partitionsToOffsetInfo(group).get();
        return Optional.ofNullable(offsets.get(partition));
    }

    /** Reads so many records with a consumer that leaves then. */
    private static List<String> read(Broker broker, String group, String topic, int count) throws Exception {
        List<String> values = new ArrayList<>();
        try (ShareConsumer<String, String> consumer = explicitConsumer(broker, group)) {
            consumer.subscribe(List.of(topic));
            Check.eventually(count + " records", PATIENCE_MS, () -> {
                List<ConsumerRecord<String, String>> some = poll(consumer);
                acknowledge(consumer, some, AcknowledgeType.ACCEPT);
                values.addAll(Broker.values(some));
                return values.size() >= count;
            });
        }
        try (Admin admin = broker.admin()) {
            Check.eventually("nobody is there", PATIENCE_MS, () -> admin.describeShareGroups(List.of(group)).all().get().get(group).groupState() == GroupState.EMPTY);
        }
        return values;
    }

    private interface Interruption {
        void of(Broker broker) throws Exception;
    }

    /** Everything that was sent comes, and nothing that was accepted comes again. */
    private static void interrupted(Broker broker, Interruption interruption) throws Exception {
        String topic = broker.topic(3);
        String group = group(broker, "share.record.lock.duration.ms", Integer.toString(LOCK_MS));
        int count = 3000;
        Set<String> seen = ConcurrentHashMap.newKeySet();
        // Known to be stored; of others the answer was lost with the server.
        Set<String> accepted = ConcurrentHashMap.newKeySet();
        List<String> again = java.util.Collections.synchronizedList(new ArrayList<>());
        List<Thread> threads = new ArrayList<>();
        for (int number = 0; number < 2; number++) {
            Thread thread = new Thread(() -> {
                try (ShareConsumer<String, String> consumer = explicitConsumer(broker, group, "max.poll.records", 20)) {
                    consumer.subscribe(List.of(topic));
                    while (seen.size() < count) {
                        List<ConsumerRecord<String, String>> records = poll(consumer);
                        records.stream().map(ConsumerRecord::value).filter(accepted::contains).forEach(again::add);
                        records.forEach(record -> seen.add(record.value()));
                        records.forEach(record -> consumer.acknowledge(record, AcknowledgeType.ACCEPT));
                        Map<Integer, Boolean> taken = consumer.commitSync().entrySet().stream()
                                .collect(Collectors.toMap(entry -> entry.getKey().partition(), entry -> entry.getValue().isEmpty()));
                        records.stream().filter(record -> taken.getOrDefault(record.partition(), false)).forEach(record -> accepted.add(record.value()));
                    }
                }
            });
            thread.start();
            threads.add(thread);
        }
        try (Producer<String, String> producer = broker.producer("delivery.timeout.ms", 120_000, "linger.ms", 5)) {
            for (int number = 0; number < count; number++) {
                producer.send(new ProducerRecord<>(topic, number % 3, null, Integer.toString(number)));
                if (number % 100 == 0) {
                    producer.flush();
                }
                if (number == count / 2) {
                    Check.eventually("some are accepted", PATIENCE_MS, () -> accepted.size() > count / 10);
                    interruption.of(broker);
                }
            }
        }
        for (Thread thread : threads) {
            thread.join(2 * PATIENCE_MS);
            Check.that(!thread.isAlive(), "all records have come: " + seen.size());
        }
        Check.equal(List.of(), again);
    }
}
