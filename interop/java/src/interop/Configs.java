package interop;

import static interop.Main.Scenario;

import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.AlterConfigOp.OpType;
import org.apache.kafka.clients.admin.AlterConfigsOptions;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ConfigEntry.ConfigSource;
import org.apache.kafka.clients.admin.DescribeConfigsOptions;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

/** Reading and changing configuration. */
final class Configs {
    private Configs() {}

    static Map<String, Scenario> scenarios() {
        Map<String, Scenario> all = new TreeMap<>();
        all.put("configs: a topic's values say where they come from", Configs::sources);
        all.put("configs: a value is set, seen and taken back", Configs::incremental);
        all.put("configs: a list grows and shrinks", Configs::lists);
        all.put("configs: what is wrong is refused and nothing is changed", Configs::refusals);
        all.put("configs: a broker describes itself", Configs::brokerConfigs);
        return all;
    }

    private static ConfigResource resource(String topic) {
        return new ConfigResource(ConfigResource.Type.TOPIC, topic);
    }

    private static ConfigEntry entry(Admin admin, String topic, String key) throws Exception {
        return admin.describeConfigs(List.of(resource(topic))).all().get().get(resource(topic)).get(key);
    }

    private static void alter(Admin admin, String topic, String key, String value, OpType operation) throws Exception {
        admin.incrementalAlterConfigs(Map.of(resource(topic), List.of(new AlterConfigOp(new ConfigEntry(key, value), operation)))).all().get();
    }

    /** Whichever node is asked tells what it knows of: on a cluster it learns of a change a moment later. */
    private static void becomes(Admin admin, String topic, String key, String value) throws Exception {
        Check.eventually(key + " is " + value, () -> value.equals(entry(admin, topic, key).value()));
    }

    private static void sources(Broker broker) throws Exception {
        String topic = broker.topic(1, "retention.ms", "1234567");
        try (Admin admin = broker.admin()) {
            ConfigEntry own = entry(admin, topic, "retention.ms");
            Check.equal("1234567", own.value());
            Check.equal(ConfigSource.DYNAMIC_TOPIC_CONFIG, own.source());
            Check.that(!own.isDefault() && !own.isReadOnly() && !own.isSensitive(), "a plain value of its own");
            ConfigEntry inherited = entry(admin, topic, "max.message.bytes");
            Check.equal("1048588", inherited.value());
            Check.equal(ConfigSource.DEFAULT_CONFIG, inherited.source());
            DescribeConfigsOptions options = new DescribeConfigsOptions().includeSynonyms(true).includeDocumentation(true);
            Config config = admin.describeConfigs(List.of(resource(topic)), options).all().get().get(resource(topic));
            Check.equal(ConfigSource.DYNAMIC_TOPIC_CONFIG, config.get("retention.ms").synonyms().get(0).source());
            Check.equal(ConfigEntry.ConfigType.LONG, config.get("retention.ms").type());
            Check.that(!config.get("retention.ms").documentation().isBlank(), "documented");
        }
    }

    private static void incremental(Broker broker) throws Exception {
        String topic = broker.topic(1, "segment.ms", "999999");
        try (Admin admin = broker.admin()) {
            alter(admin, topic, "max.message.bytes", "5555", OpType.SET);
            becomes(admin, topic, "max.message.bytes", "5555");
            Check.equal("999999", entry(admin, topic, "segment.ms").value());
            alter(admin, topic, "max.message.bytes", "", OpType.DELETE);
            becomes(admin, topic, "max.message.bytes", "1048588");
            var validateOnly = new AlterConfigsOptions().validateOnly(true);
            var operation = new AlterConfigOp(new ConfigEntry("max.message.bytes", "77"), OpType.SET);
            admin.incrementalAlterConfigs(Map.of(resource(topic), List.of(operation)), validateOnly).all().get();
            Check.equal("1048588", entry(admin, topic, "max.message.bytes").value());
        }
    }

    private static void lists(Broker broker) throws Exception {
        String topic = broker.topic(1);
        try (Admin admin = broker.admin()) {
            Check.equal("delete", entry(admin, topic, "cleanup.policy").value());
            alter(admin, topic, "cleanup.policy", "compact", OpType.APPEND);
            becomes(admin, topic, "cleanup.policy", "delete,compact");
            alter(admin, topic, "cleanup.policy", "delete", OpType.SUBTRACT);
            becomes(admin, topic, "cleanup.policy", "compact");
        }
    }

    private static void refusals(Broker broker) throws Exception {
        String topic = broker.topic(1);
        try (Admin admin = broker.admin()) {
            Check.fails(InvalidConfigurationException.class, () -> set(admin, topic, "no.such.key", "1"));
            Check.fails(InvalidConfigurationException.class, () -> set(admin, topic, "retention.ms", "soon"));
            Check.fails(InvalidConfigurationException.class, () -> set(admin, topic, "message.timestamp.type", "Sometimes"));
            Check.equal("604800000", entry(admin, topic, "retention.ms").value());
            String nobody = Broker.name("nobody");
            Check.fails(UnknownTopicOrPartitionException.class, () -> set(admin, nobody, "retention.ms", "1000"));
            Check.fails(UnknownTopicOrPartitionException.class, () -> entry(admin, nobody, "retention.ms"));
        }
    }

    private static Object set(Admin admin, String topic, String key, String value) throws Exception {
        alter(admin, topic, key, value, OpType.SET);
        return null;
    }

    private static void brokerConfigs(Broker broker) throws Exception {
        try (Admin admin = broker.admin()) {
            String node = admin.describeCluster().nodes().get().iterator().next().idString();
            ConfigResource resource = new ConfigResource(ConfigResource.Type.BROKER, node);
            Config config = admin.describeConfigs(List.of(resource)).all().get().get(resource);
            Check.equal("1048588", config.get("message.max.bytes").value());
            Check.equal("true", config.get("auto.create.topics.enable").value());
        }
    }
}
