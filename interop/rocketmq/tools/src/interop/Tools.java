package interop;

import static interop.Main.Scenario;

import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Pattern;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;

/** RocketMQ's own command-line tools, each with an assertion on what it prints. */
public final class Tools {
    private static final String CLUSTER = Mqadmin.CLUSTER;

    private Tools() {}

    public static void main(String[] arguments) throws Exception {
        Server server = Server.fromEnvironment();
        String pattern = arguments.length > 0 ? arguments[0] : "";
        Map<String, Scenario> all = scenarios();
        all.keySet().removeIf(name -> !name.contains(pattern));
        // One at a time: what commands print is caught.
        System.exit(Main.run(all, server, 1) && !all.isEmpty() ? 0 : 1);
    }

    private static Map<String, Scenario> scenarios() {
        Map<String, Scenario> all = new TreeMap<>();
        all.put("mqadmin: topics are created, changed, listed and deleted", Tools::topics);
        all.put("mqadmin: groups are created, changed and deleted", Tools::groups);
        all.put("mqadmin: the cluster and its broker show themselves", Tools::cluster);
        all.put("mqadmin: the broker's configuration", Tools::configuration);
        all.put("mqadmin: key-value and order configuration", Tools::keyValues);
        all.put("mqadmin: messages are sent, printed and consumed", Tools::messages);
        all.put("mqadmin: messages are found by id, key and offset", Tools::queries);
        all.put("mqadmin: producers and consumers show themselves", Tools::connections);
        all.put("mqadmin: progress is shown, cloned and reset", Tools::progress);
        all.put("mqadmin: offsets of a running consumer are reset", Tools::resetOnline);
        all.put("mqadmin: a topic's permission is changed", Tools::permission);
        all.put("mqadmin: round trips are measured", Tools::roundTrips);
        all.put("mqadmin: clean-ups succeed", Tools::cleanUps);
        return all;
    }

    private static void topics(Scope scope) throws Exception {
        Mqadmin mqadmin = new Mqadmin(scope.server);
        String topic = Scope.name("tools");
        mqadmin.shows("create topic to \\S+ success", "updateTopic", "-c", CLUSTER, "-t", topic, "-r", "3", "-w", "3");
        mqadmin.willShow("\"readQueueNums\":3", "topicRoute", "-t", topic);
        mqadmin.shows("\"writeQueueNums\":3", "topicRoute", "-t", topic);
        mqadmin.shows("\"brokerAddrs\":\\{\\s*\"?0\"?:\"127.0.0.1:\\d+\"", "topicRoute", "-t", topic);
        mqadmin.shows("^" + topic + "$", "topicList");
        mqadmin.shows("^" + CLUSTER + "\\s+" + topic + "\\s", "topicList", "-c");
        mqadmin.shows("^" + CLUSTER + "$", "topicClusterList", "-t", topic);
        mqadmin.shows("^\\S+\\s+2\\s+0\\s+0", "topicStatus", "-t", topic);
        mqadmin.good("updateTopic", "-b", mqadmin.brokerAddress(), "-t", topic, "-r", "5", "-w", "5");
        mqadmin.willShow("\"readQueueNums\":5", "topicRoute", "-t", topic);
        mqadmin.shows("^\\S+\\s+4\\s+0\\s+0", "topicStatus", "-t", topic);
        mqadmin.shows("queue", "allocateMQ", "-t", topic, "-i", "10.0.0.1,10.0.0.2");
        mqadmin.shows("success", "deleteTopic", "-c", CLUSTER, "-t", topic);
        Check.eventually("the topic is gone", () -> !mqadmin.good("topicList").contains(topic));
    }

    private static void groups(Scope scope) {
        Mqadmin mqadmin = new Mqadmin(scope.server);
        String group = Scope.name("tools");
        mqadmin.shows("success", "updateSubGroup", "-c", CLUSTER, "-g", group, "-r", "5", "-q", "2");
        mqadmin.shows("retryMaxTimes\\s+=\\s+5", "getConsumerConfig", "-g", group);
        mqadmin.shows("success", "updateSubGroup", "-b", mqadmin.brokerAddress(), "-g", group, "-r", "7", "-s", "false");
        mqadmin.shows("retryMaxTimes\\s+=\\s+7", "getConsumerConfig", "-g", group);
        mqadmin.shows("consumeEnable\\s+=\\s+false", "getConsumerConfig", "-g", group);
        mqadmin.shows("success", "deleteSubGroup", "-c", CLUSTER, "-g", group, "-r", "true");
        mqadmin.hides("retryMaxTimes", "getConsumerConfig", "-g", group);
    }

    private static void cluster(Scope scope) throws Exception {
        Mqadmin mqadmin = new Mqadmin(scope.server);
        scope.fill(scope.producer(), scope.topic(1), 3);
        String address = mqadmin.brokerAddress();
        mqadmin.shows("^" + CLUSTER + "\\s+\\S+\\s+0\\s+127.0.0.1:\\d+\\s+V\\d", "clusterList");
        mqadmin.shows("^" + CLUSTER + "\\s+\\S+\\s+\\d+\\s+\\d+", "clusterList", "-m");
        mqadmin.shows("^brokerVersionDesc\\s+: V5", "brokerStatus", "-b", address);
        mqadmin.shows("bootTimestamp\\s+: \\d{13}", "brokerStatus", "-c", CLUSTER);
        mqadmin.shows("putTps\\s+: [\\d.]+ [\\d.]+", "brokerStatus", "-b", address);
        mqadmin.good("haStatus", "-b", address);
        mqadmin.good("getNamesrvConfig");
        mqadmin.good("statsAll");
        mqadmin.good("brokerConsumeStats", "-b", address, "-t", "10000");
    }

    private static void configuration(Scope scope) {
        Mqadmin mqadmin = new Mqadmin(scope.server);
        String address = mqadmin.brokerAddress();
        mqadmin.shows("brokerName\\s+=\\s+" + Pattern.quote(mqadmin.brokerName()), "getBrokerConfig", "-b", address);
        mqadmin.shows("brokerClusterName\\s+=\\s+" + CLUSTER, "getBrokerConfig", "-c", CLUSTER);
    }

    private static void keyValues(Scope scope) throws Exception {
        Mqadmin mqadmin = new Mqadmin(scope.server);
        String key = Scope.name("key");
        mqadmin.shows("success", "updateKvConfig", "-s", "INTEROP", "-k", key, "-v", "value");
        mqadmin.shows("success", "deleteKvConfig", "-s", "INTEROP", "-k", key);
        String topic = scope.topic(2);
        String order = mqadmin.brokerName() + ":2";
        mqadmin.good("updateOrderConf", "-m", "put", "-t", topic, "-v", order);
        mqadmin.shows(Pattern.quote(order), "updateOrderConf", "-m", "get", "-t", topic);
        mqadmin.good("updateOrderConf", "-m", "delete", "-t", topic);
        mqadmin.run("updateOrderConf", "-m", "get", "-t", topic);
    }

    private static void messages(Scope scope) throws Exception {
        Mqadmin mqadmin = new Mqadmin(scope.server);
        String topic = scope.topic(1);
        String broker = mqadmin.brokerName();
        mqadmin.shows("SEND_OK", "sendMessage", "-t", topic, "-p", "the body", "-k", "the-key", "-c", "the-tag");
        mqadmin.shows("SEND_OK", "sendMessage", "-t", topic, "-p", "more", "-b", broker, "-i", "0");
        mqadmin.willShow("BODY: the body", "printMsg", "-t", topic, "-d", "true");
        mqadmin.shows("BODY: more", "printMsg", "-t", topic, "-d", "true");
        mqadmin.hides("BODY: more", "printMsg", "-t", topic, "-d", "true", "-s", "the-tag");
        mqadmin.shows("the body", "printMsgByQueue", "-t", topic, "-a", broker, "-i", "0", "-p", "true", "-d", "true");
        mqadmin.shows("the-tag\\s+\\S*1|1\\s+\\S*the-tag|the-tag", "printMsgByQueue", "-t", topic, "-a", broker, "-i", "0", "-f", "true");
        String consumed = mqadmin.good("consumeMessage", "-t", topic, "-b", broker, "-i", "0", "-o", "0", "-c", "2");
        Check.that(consumed.contains("the body") && consumed.contains("more"), consumed);
        mqadmin.shows("queue|physicOffset|SUCCESS|index", "queryCq", "-t", topic, "-q", "0", "-i", "0", "-c", "2", "-b", mqadmin.brokerAddress());
    }

    private static void queries(Scope scope) throws Exception {
        Mqadmin mqadmin = new Mqadmin(scope.server);
        String topic = scope.topic(1);
        SendResult result = scope.send(scope.producer(), new Message(topic, "tag", "key-" + topic, "looked for".getBytes()));
        mqadmin.shows("^Queue Offset:\\s+0$", "queryMsgById", "-t", topic, "-i", result.getOffsetMsgId());
        mqadmin.willShow("^Keys:\\s+\\[?key-" + topic, "queryMsgByUniqueKey", "-t", topic, "-i", result.getMsgId());
        mqadmin.willShow(result.getMsgId() + "\\s+0\\s+0", "queryMsgByKey", "-t", topic, "-k", "key-" + topic);
        mqadmin.shows("^Tags:\\s+\\[tag\\]$", "queryMsgByOffset", "-t", topic, "-b", mqadmin.brokerName(), "-i", "0", "-o", "0");
    }

    private static DefaultMQPushConsumer consume(Scope scope, String group, String topic, Inbox inbox) throws Exception {
        DefaultMQPushConsumer consumer = scope.push(group);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener(inbox.concurrently());
        consumer.start();
        return consumer;
    }

    private static void connections(Scope scope) throws Exception {
        Mqadmin mqadmin = new Mqadmin(scope.server);
        String topic = scope.topic(2);
        String group = Scope.name("tools");
        DefaultMQProducer producer = scope.producer();
        scope.fill(producer, topic, 5);
        Inbox inbox = new Inbox(scope);
        DefaultMQPushConsumer consumer = consume(scope, group, topic, inbox);
        inbox.take(10);
        String producerId = Pattern.quote(producer.buildMQClientId());
        String consumerId = Pattern.quote(consumer.buildMQClientId());
        mqadmin.willShow(producerId, "producerConnection", "-g", producer.getProducerGroup(), "-t", topic);
        mqadmin.shows(producerId, "producer", "-b", mqadmin.brokerAddress());
        mqadmin.willShow("^" + consumerId + "\\s+127.0.0.1:\\d+\\s+JAVA\\s+V", "consumerConnection", "-g", group);
        mqadmin.shows("^" + topic + " +\\*$", "consumerConnection", "-g", group);
        mqadmin.shows("^ConsumeType: CONSUME_PASSIVELY$", "consumerConnection", "-g", group);
        mqadmin.shows(consumerId, "consumerStatus", "-g", group);
        mqadmin.shows("^" + topic, "consumerStatus", "-g", group, "-i", consumer.buildMQClientId());
    }

    private static void progress(Scope scope) throws Exception {
        Mqadmin mqadmin = new Mqadmin(scope.server);
        String topic = scope.topic(1);
        String group = Scope.name("tools");
        DefaultMQProducer producer = scope.producer();
        scope.fill(producer, topic, 8);
        Inbox inbox = new Inbox(scope);
        DefaultMQPushConsumer consumer = consume(scope, group, topic, inbox);
        inbox.take(8);
        consumer.shutdown();
        mqadmin.willShow("^" + topic + "\\s+\\S+\\s+0\\s+8\\s+8\\s", "consumerProgress", "-g", group);
        scope.fill(producer, topic, 4);
        mqadmin.willShow("^" + topic + "\\s+\\S+\\s+0\\s+12\\s+8\\s", "consumerProgress", "-g", group);
        mqadmin.shows("^Consume Diff Total: 4$", "consumerProgress", "-g", group);
        mqadmin.shows("^" + group.substring(0, 20), "consumerProgress");
        String clone = Scope.name("clone");
        // The tools look at the group's retry topic, which its first consumer brings into being.
        consume(scope, clone, scope.topic(1), new Inbox(scope)).shutdown();
        mqadmin.shows("success", "cloneGroupOffset", "-s", group, "-d", clone, "-t", topic);
        mqadmin.willShow("^" + topic + "\\s+\\S+\\s+0\\s+12\\s+8\\s", "consumerProgress", "-g", clone);
        mqadmin.good("skipAccumulatedMessage", "-g", clone, "-t", topic);
        mqadmin.willShow("^" + topic + "\\s+\\S+\\s+0\\s+12\\s+12\\s", "consumerProgress", "-g", clone);
        mqadmin.good("resetOffsetByTime", "-g", group, "-t", topic, "-s", "0");
        mqadmin.willShow("^" + topic + "\\s+\\S+\\s+0\\s+12\\s+0\\s", "consumerProgress", "-g", group);
    }

    private static void resetOnline(Scope scope) throws Exception {
        Mqadmin mqadmin = new Mqadmin(scope.server);
        String topic = scope.topic(1);
        String group = Scope.name("tools");
        scope.fill(scope.producer(), topic, 6);
        Inbox inbox = new Inbox(scope);
        consume(scope, group, topic, inbox);
        inbox.take(6);
        mqadmin.willShow("^" + topic + "\\s+\\S+\\s+0\\s+6\\s+6\\s", "consumerProgress", "-g", group);
        mqadmin.good("resetOffsetByTime", "-g", group, "-t", topic, "-s", "0");
        Check.eventually("everything comes again", () -> inbox.size() >= 12);
    }

    private static void permission(Scope scope) throws Exception {
        Mqadmin mqadmin = new Mqadmin(scope.server);
        String topic = scope.topic(1);
        mqadmin.good("updateTopicPerm", "-c", CLUSTER, "-t", topic, "-p", "4");
        mqadmin.willShow("\"perm\":4", "topicRoute", "-t", topic);
        mqadmin.good("updateTopicPerm", "-b", mqadmin.brokerAddress(), "-t", topic, "-p", "6");
        mqadmin.willShow("\"perm\":6", "topicRoute", "-t", topic);
    }

    private static void roundTrips(Scope scope) throws Exception {
        Mqadmin mqadmin = new Mqadmin(scope.server);
        String topic = scope.topic(1);
        mqadmin.shows("Avg RT: ", "checkMsgSendRT", "-t", topic, "-a", "5", "-s", "100");
    }

    private static void cleanUps(Scope scope) {
        Mqadmin mqadmin = new Mqadmin(scope.server);
        for (String command : List.of("cleanExpiredCQ", "deleteExpiredCommitLog", "cleanUnusedTopic")) {
            mqadmin.shows("success", command, "-b", mqadmin.brokerAddress());
            mqadmin.shows("success", command, "-c", CLUSTER);
        }
    }
}
