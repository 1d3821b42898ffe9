package interop;

import static interop.Main.Scenario;

import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ExecutionException;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.DescribeClusterResult;
import org.apache.kafka.clients.admin.FeatureMetadata;
import org.apache.kafka.clients.admin.FeatureUpdate;
import org.apache.kafka.clients.admin.NewPartitionReassignment;
import org.apache.kafka.clients.admin.ProducerState;
import org.apache.kafka.clients.admin.QuorumInfo;
import org.apache.kafka.clients.admin.UpdateFeaturesOptions;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.ElectionNotNeededException;
import org.apache.kafka.common.errors.InvalidReplicaAssignmentException;
import org.apache.kafka.common.errors.InvalidUpdateVersionException;
import org.apache.kafka.common.errors.NoReassignmentInProgressException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

/** What an administrator can ask about the cluster. */
final class Cluster {
    private static final String METADATA_VERSION = "metadata.version";

    private Cluster() {}

    static Map<String, Scenario> scenarios() {
        Map<String, Scenario> all = new TreeMap<>();
        all.put("cluster: one node that is reached where it says", Cluster::nodes);
        all.put("cluster: a partition's size is known", Cluster::logDirs);
        all.put("cluster: an idempotent producer is known to its partition", Cluster::producers);
        all.put("cluster: the metadata quorum has a leader among its voters", Cluster::quorum);
        all.put("cluster: finalized features lie within the supported ones", Cluster::features);
        all.put("cluster: a feature keeps its level and gets no higher one", Cluster::featureLevels);
        all.put("cluster: an election finds the wanted leader in place", Cluster::elections);
        all.put("cluster: replicas are where they are wanted", Cluster::reassignments);
        return all;
    }

    private static void nodes(Broker broker) throws Exception {
        try (Admin admin = broker.admin()) {
            DescribeClusterResult cluster = admin.describeCluster();
            Check.that(!cluster.clusterId().get().isEmpty(), "the cluster has an id");
            List<Node> nodes = List.copyOf(cluster.nodes().get());
            Set<String> addresses = nodes.stream().map(node -> node.host() + ":" + node.port()).collect(Collectors.toSet());
            Check.equal(Set.copyOf(broker.addresses()), addresses);
            Check.that(nodes.contains(cluster.controller().get()), "the controller is one of the nodes");
        }
    }

    private static void logDirs(Broker broker) throws Exception {
        String topic = broker.topic(1);
        broker.fill(topic, 1, 100);
        TopicPartition partition = new TopicPartition(topic, 0);
        try (Admin admin = broker.admin()) {
            int node = replicas(admin, partition).get(0);
            var directories = admin.describeLogDirs(List.of(node)).allDescriptions().get().get(node);
            var holding = directories.values().stream().filter(one -> one.replicaInfos().containsKey(partition)).toList();
            Check.equal(1, holding.size());
            Check.equal(null, holding.get(0).error());
            Check.that(holding.get(0).replicaInfos().get(partition).size() > 100, "a size of more than its values");
            Check.equal(0L, holding.get(0).replicaInfos().get(partition).offsetLag());
        }
    }

    private static void producers(Broker broker) throws Exception {
        String topic = broker.topic(1);
        TopicPartition partition = new TopicPartition(topic, 0);
        try (Admin admin = broker.admin(); Producer<String, String> producer = broker.producer("enable.idempotence", true)) {
            for (int number = 0; number < 3; number++) {
                producer.send(new ProducerRecord<>(topic, "x")).get();
            }
            List<ProducerState> states = states(admin, partition);
            Check.equal(1, states.size());
            Check.equal(2, states.get(0).lastSequence());
            Check.that(states.get(0).producerId() >= 0, "a producer id");
        }
    }

    private static List<ProducerState> states(Admin admin, TopicPartition partition) throws InterruptedException, ExecutionException {
        return admin.describeProducers(List.of(partition)).partitionResult(partition).get().activeProducers();
    }

    private static void quorum(Broker broker) throws Exception {
        try (Admin admin = broker.admin()) {
            QuorumInfo quorum = admin.describeMetadataQuorum().quorumInfo().get();
            Check.that(quorum.voters().stream().anyMatch(voter -> voter.replicaId() == quorum.leaderId()), "the leader is a voter");
            Check.that(quorum.highWatermark() >= 0, "a high watermark");
        }
    }

    private static void features(Broker broker) throws Exception {
        try (Admin admin = broker.admin()) {
            FeatureMetadata features = admin.describeFeatures().featureMetadata().get();
            features.finalizedFeatures().forEach((name, range) -> {
                var supported = features.supportedFeatures().get(name);
                Check.that(supported != null && supported.maxVersion() >= range.maxVersionLevel(), name);
            });
        }
    }

    private static void featureLevels(Broker broker) throws Exception {
        try (Admin admin = broker.admin()) {
            FeatureMetadata features = admin.describeFeatures().featureMetadata().get();
            int level = features.finalizedFeatures().get(METADATA_VERSION).maxVersionLevel();
            int above = features.supportedFeatures().get(METADATA_VERSION).maxVersion() + 1;
            raise(admin, level);
            Check.fails(InvalidUpdateVersionException.class, () -> raise(admin, above));
        }
    }

    private static Void raise(Admin admin, int level) throws Exception {
        FeatureUpdate update = new FeatureUpdate((short) level, FeatureUpdate.UpgradeType.UPGRADE);
        return admin.updateFeatures(Map.of(METADATA_VERSION, update), new UpdateFeaturesOptions()).all().get();
    }

    private static void elections(Broker broker) throws Exception {
        TopicPartition present = new TopicPartition(broker.topic(1), 0);
        TopicPartition missing = new TopicPartition(Broker.name("java"), 0);
        try (Admin admin = broker.admin()) {
            for (ElectionType type : ElectionType.values()) {
                Map<TopicPartition, Optional<Throwable>> outcomes =
                        admin.electLeaders(type, Set.of(present, missing)).partitions().get();
                Check.equal(ElectionNotNeededException.class, outcomes.get(present).orElseThrow().getClass());
                Check.equal(UnknownTopicOrPartitionException.class, outcomes.get(missing).orElseThrow().getClass());
                Check.that(!admin.electLeaders(type, null).partitions().get().containsKey(present), "nothing to elect");
            }
        }
    }

    private static void reassignments(Broker broker) throws Exception {
        TopicPartition present = new TopicPartition(broker.topic(1), 0);
        TopicPartition missing = new TopicPartition(Broker.name("java"), 0);
        try (Admin admin = broker.admin()) {
            List<Integer> here = replicas(admin, present);
            reassign(admin, present, here);
            Check.fails(InvalidReplicaAssignmentException.class, () -> reassign(admin, present, List.of(1000)));
            Check.fails(NoReassignmentInProgressException.class, () -> reassign(admin, present, null));
            Check.fails(UnknownTopicOrPartitionException.class, () -> reassign(admin, missing, here));
            Check.equal(Map.of(), admin.listPartitionReassignments().reassignments().get());
            Check.equal(Map.of(), admin.listPartitionReassignments(Set.of(present, missing)).reassignments().get());
        }
    }

    /** Where they are, the preferred leader first. */
    private static List<Integer> replicas(Admin admin, TopicPartition partition) throws Exception {
        String topic = partition.topic();
        var described = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic).partitions();
        return described.get(partition.partition()).replicas().stream().map(Node::id).toList();
    }

    /** Without nodes it takes back what is under way. */
    private static Void reassign(Admin admin, TopicPartition partition, List<Integer> nodes) throws Exception {
        Optional<NewPartitionReassignment> wanted = Optional.ofNullable(nodes).map(NewPartitionReassignment::new);
        return admin.alterPartitionReassignments(Map.of(partition, wanted)).all().get();
    }
}
