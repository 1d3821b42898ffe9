package interop;

import static interop.Main.Scenario;

import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.CreateTopicsResult;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.common.KafkaException;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidReplicationFactorException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicIdException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

/** Topics come, grow, shrink from the front and go. */
final class Topics {
    private Topics() {}

    static Map<String, Scenario> scenarios() {
        Map<String, Scenario> all = new TreeMap<>();
        all.put("topics: created, listed, described and deleted", Topics::lifetime);
        all.put("topics: deleted by id, and a new one of the same name is another and empty", Topics::deletedById);
        all.put("topics: creation answers with what was created", Topics::creationAnswer);
        all.put("topics: validateOnly creates nothing", Topics::validateOnly);
        all.put("topics: one bad topic does not spoil its request", Topics::partialFailure);
        all.put("topics: what cannot be created is refused by name", Topics::refusals);
        all.put("topics: partitions can be added, not removed", Topics::partitions);
        all.put("topics: records before an offset can be deleted", Topics::deleteRecords);
        all.put("topics: an unknown topic is an error", Topics::unknown);
        return all;
    }

    private static void lifetime(Broker broker) throws Exception {
        String topic = broker.topic(3);
        try (Admin admin = broker.admin()) {
            Check.that(admin.listTopics().names().get().contains(topic), "the topic is listed");
            TopicDescription description = describe(admin, topic);
            Check.equal(3, description.partitions().size());
            Check.that(!description.topicId().equals(Uuid.ZERO_UUID), "the topic has an id");
            Check.that(!description.isInternal(), "the topic is not internal");
            description.partitions().forEach(partition -> {
                Check.that(partition.replicas().contains(partition.leader()), "the leader is a replica");
                Check.equal(Set.copyOf(partition.replicas()), Set.copyOf(partition.isr()));
            });
            Check.equal(topic, admin.describeTopics(TopicCollection.ofTopicIds(List.of(description.topicId())))
                    .allTopicIds().get().get(description.topicId()).name());
            admin.deleteTopics(List.of(topic)).all().get();
            Check.eventually("the topic is gone", () -> !admin.listTopics().names().get().contains(topic));
        }
    }

    private static TopicDescription describe(Admin admin, String topic) throws Exception {
        return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
    }

    private static void deletedById(Broker broker) throws Exception {
        String topic = broker.topic(1);
        broker.fill(topic, 1, 5);
        try (Admin admin = broker.admin()) {
            Uuid first = describe(admin, topic).topicId();
            admin.deleteTopics(TopicCollection.ofTopicIds(List.of(first))).all().get();
            Check.fails(UnknownTopicIdException.class, () -> admin.deleteTopics(TopicCollection.ofTopicIds(List.of(first))).all().get());
            admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1))).all().get();
            Broker.online(admin, topic, 1);
            Check.that(!describe(admin, topic).topicId().equals(first), "another id");
        }
        Check.equal(0, broker.contents(topic, 1).size());
        broker.fill(topic, 1, 2);
        Check.equal(List.of("0", "1"), Broker.values(broker.contents(topic, 1)));
    }

    private static void creationAnswer(Broker broker) throws Exception {
        String topic = Broker.name("java");
        try (Admin admin = broker.admin()) {
            CreateTopicsResult result = admin.createTopics(List.of(new NewTopic(topic, 2, (short) 1).configs(Map.of("retention.ms", "3600000"))));
            Check.equal(2, result.numPartitions(topic).get());
            Check.equal(1, result.replicationFactor(topic).get());
            Check.equal("3600000", result.config(topic).get().get("retention.ms").value());
            Broker.online(admin, topic, 2);
            Check.equal(describe(admin, topic).topicId(), result.topicId(topic).get());
        }
    }

    private static void validateOnly(Broker broker) throws Exception {
        String topic = Broker.name("java");
        CreateTopicsOptions options = new CreateTopicsOptions().validateOnly(true);
        try (Admin admin = broker.admin()) {
            admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1)), options).all().get();
            Check.that(!admin.listTopics().names().get().contains(topic), "nothing is created");
            Check.fails(InvalidPartitionsException.class,
                    () -> admin.createTopics(List.of(new NewTopic(topic, 0, (short) 1)), options).all().get());
        }
    }

    private static void partialFailure(Broker broker) throws Exception {
        String good = Broker.name("java");
        try (Admin admin = broker.admin()) {
            CreateTopicsResult result = admin.createTopics(List.of(new NewTopic(good, 1, (short) 1), new NewTopic("bad/name", 1, (short) 1)));
            result.values().get(good).get();
            Broker.online(admin, good, 1);
            Check.fails(InvalidTopicException.class, () -> result.values().get("bad/name").get());
            Check.equal(1, describe(admin, good).partitions().size());
        }
    }

    private static void refusals(Broker broker) throws Exception {
        String existing = broker.topic(1);
        refused(broker, TopicExistsException.class, new NewTopic(existing, 1, (short) 1));
        refused(broker, InvalidTopicException.class, new NewTopic("..", 1, (short) 1));
        refused(broker, InvalidTopicException.class, new NewTopic("a".repeat(250), 1, (short) 1));
        refused(broker, InvalidPartitionsException.class, new NewTopic(Broker.name("java"), 0, (short) 1));
        refused(broker, InvalidReplicationFactorException.class, new NewTopic(Broker.name("java"), 1, (short) (broker.addresses().size() + 1)));
        refused(broker, InvalidReplicationFactorException.class, new NewTopic(Broker.name("java"), 1, (short) 0));
        refused(broker, InvalidConfigurationException.class, new NewTopic(Broker.name("java"), 1, (short) 1).configs(Map.of("no.such.key", "1")));
        refused(broker, InvalidConfigurationException.class, new NewTopic(Broker.name("java"), 1, (short) 1).configs(Map.of("retention.ms", "soon")));
    }

    private static void refused(Broker broker, Class<? extends KafkaException> error, NewTopic topic) {
        try (Admin admin = broker.admin()) {
            Check.fails(error, () -> admin.createTopics(List.of(topic)).all().get());
        }
    }

    private static void partitions(Broker broker) throws Exception {
        String topic = broker.topic(2);
        try (Admin admin = broker.admin()) {
            admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(5))).all().get();
            Broker.online(admin, topic, 5);
            Check.equal(5, describe(admin, topic).partitions().size());
            Check.fails(InvalidPartitionsException.class, () -> admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all().get());
            Check.fails(InvalidPartitionsException.class, () -> admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(5))).all().get());
            String nobody = Broker.name("nobody");
            Check.fails(UnknownTopicOrPartitionException.class, () -> admin.createPartitions(Map.of(nobody, NewPartitions.increaseTo(5))).all().get());
        }
        broker.fill(topic, 5, 2);
        Check.equal(10, broker.contents(topic, 5).size());
    }

    private static void deleteRecords(Broker broker) throws Exception {
        String topic = broker.topic(1);
        TopicPartition partition = new TopicPartition(topic, 0);
        broker.fill(topic, 1, 20);
        try (Admin admin = broker.admin(); Consumer<String, String> consumer = broker.consumer("auto.offset.reset", "none")) {
            Check.equal(12L, delete(admin, partition, 12));
            Check.equal(12L, admin.listOffsets(Map.of(partition, OffsetSpec.earliest())).partitionResult(partition).get().offset());
            Check.equal(List.of("12", "13", "14", "15", "16", "17", "18", "19"), Broker.values(broker.contents(topic, 1)));
            consumer.assign(List.of(partition));
            consumer.seek(partition, 3);
            Check.equal(Set.of(partition), Check.fails(OffsetOutOfRangeException.class, () -> Broker.take(consumer, 1)).partitions());
            Check.fails(org.apache.kafka.common.errors.OffsetOutOfRangeException.class, () -> delete(admin, partition, 21));
            Check.equal(20L, delete(admin, partition, -1));
            Check.equal(0, broker.contents(topic, 1).size());
        }
    }

    /** The low watermark after deleting what lies before the offset. */
    private static long delete(Admin admin, TopicPartition partition, long before) throws Exception {
        return admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(before))).lowWatermarks().get(partition).get().lowWatermark();
    }

    private static void unknown(Broker broker) {
        String topic = Broker.name("nobody");
        try (Admin admin = broker.admin()) {
            Check.fails(UnknownTopicOrPartitionException.class, () -> describe(admin, topic));
            Check.fails(UnknownTopicOrPartitionException.class, () -> admin.deleteTopics(List.of(topic)).all().get());
        }
    }
}
