package interop

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestTopicsAreCreatedDescribedGrownAndDeleted(t *testing.T) {
	t.Parallel()
	made, adm := topic(t, 2, nil), admin(t)
	count := func() int {
		details, err := adm.ListTopics(limited(t), made)
		if err != nil || details[made].Err != nil {
			return 0
		}
		return len(details[made].Partitions)
	}
	equal(t, 2, count())
	if _, err := adm.UpdatePartitions(limited(t), 5, made); err != nil {
		t.Fatal(err)
	}
	eventually(t, "five partitions", func() bool { return count() == 5 })
	answers, err := adm.UpdatePartitions(limited(t), 3, made)
	if err == nil {
		err = answers.Error()
	}
	fails(t, kerr.InvalidPartitions, err)
	if _, err := adm.DeleteTopic(limited(t), made); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the topic is gone", func() bool { return count() == 0 })
	_, err = adm.DeleteTopic(limited(t), made)
	fails(t, kerr.UnknownTopicOrPartition, err)
}

func TestATopicThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	adm, existing := admin(t), topic(t, 1, nil)
	wrong := func(key, value string) map[string]*string { return map[string]*string{key: kadm.StringPtr(value)} }
	for _, refused := range []struct {
		expected   *kerr.Error
		partitions int32
		replicas   int16
		configs    map[string]*string
		topic      string
	}{
		{kerr.TopicAlreadyExists, 1, 1, nil, existing},
		{kerr.InvalidTopicException, 1, 1, nil, "not a name!"},
		{kerr.InvalidPartitions, 0, 1, nil, name("go")},
		{kerr.InvalidReplicationFactor, 1, 4, nil, name("go")},
		{kerr.InvalidConfig, 1, 1, wrong("no.such.key", "1"), name("go")},
		{kerr.InvalidConfig, 1, 1, wrong("retention.ms", "soon"), name("go")},
	} {
		_, err := adm.CreateTopic(limited(t), refused.partitions, refused.replicas, refused.configs, refused.topic)
		fails(t, refused.expected, err)
	}
}

func TestAConfigIsChangedAndTakenBack(t *testing.T) {
	t.Parallel()
	made, adm := topic(t, 1, nil), admin(t)
	value := func() string {
		described, err := adm.DescribeTopicConfigs(limited(t), made)
		if err != nil {
			t.Fatal(err)
		}
		for _, config := range described[0].Configs {
			if config.Key == "retention.ms" {
				return config.MaybeValue()
			}
		}
		return ""
	}
	// Whichever node is asked tells what it knows of: on a cluster it learns of a change a moment later.
	becomes := func(expected string) {
		eventually(t, "retention.ms is "+expected, func() bool { return value() == expected })
	}
	alter := func(change kadm.AlterConfig) error {
		answers, err := adm.AlterTopicConfigs(limited(t), []kadm.AlterConfig{change}, made)
		if err != nil {
			return err
		}
		return answers[0].Err
	}
	becomes("604800000")
	if err := alter(kadm.AlterConfig{Op: kadm.SetConfig, Name: "retention.ms", Value: kadm.StringPtr("1234567")}); err != nil {
		t.Fatal(err)
	}
	becomes("1234567")
	fails(t, kerr.InvalidConfig, alter(kadm.AlterConfig{Op: kadm.SetConfig, Name: "retention.ms", Value: kadm.StringPtr("soon")}))
	if err := alter(kadm.AlterConfig{Op: kadm.DeleteConfig, Name: "retention.ms"}); err != nil {
		t.Fatal(err)
	}
	becomes("604800000")
}

func TestOffsetsAreListedAndRecordsDeleted(t *testing.T) {
	t.Parallel()
	made, adm := topic(t, 1, nil), admin(t)
	start := time.Now().Add(-time.Minute).Truncate(time.Millisecond)
	records := numbered(made, 10, 1)
	for at, record := range records {
		record.Timestamp = start.Add(time.Duration(at) * time.Second)
	}
	produce(t, client(t), records...)
	offset := func(listed kadm.ListedOffsets, err error) int64 {
		if err == nil {
			err = listed.Error()
		}
		if err != nil {
			t.Fatal(err)
		}
		return listed[made][0].Offset
	}
	equal(t, 0, offset(adm.ListStartOffsets(limited(t), made)))
	equal(t, 10, offset(adm.ListEndOffsets(limited(t), made)))
	equal(t, 10, offset(adm.ListCommittedOffsets(limited(t), made)))
	equal(t, 9, offset(adm.ListMaxTimestampOffsets(limited(t), made)))
	equal(t, 4, offset(adm.ListOffsetsAfterMilli(limited(t), start.UnixMilli()+3500, made)))
	before := make(kadm.Offsets)
	before.AddOffset(made, 0, 6, -1)
	if _, err := adm.DeleteRecords(limited(t), before); err != nil {
		t.Fatal(err)
	}
	equal(t, 6, offset(adm.ListStartOffsets(limited(t), made)))
	equal(t, 6, read(t, made, 0, 1)[0].Offset)
}

func TestTheClusterDescribesItself(t *testing.T) {
	t.Parallel()
	made, adm := topic(t, 1, nil), admin(t)
	produce(t, client(t), &kgo.Record{Topic: made, Value: make([]byte, 100)})
	cluster, err := adm.BrokerMetadata(limited(t))
	if err != nil || cluster.Cluster == "" || len(cluster.Brokers) != len(bootstrap()) || cluster.Brokers[0].Host != "127.0.0.1" {
		t.Fatalf("%v, %v", cluster, err)
	}
	place := make(kadm.TopicsSet)
	place.Add(made, 0)
	directories, err := adm.DescribeAllLogDirs(limited(t), place)
	if err != nil {
		t.Fatal(err)
	}
	size := int64(0)
	directories.Each(func(directory kadm.DescribedLogDir) { size += directory.Size() })
	if size == 0 {
		t.Fatalf("%s has no size", made)
	}
	producers, err := adm.DescribeProducers(limited(t), place)
	if err != nil || len(producers[made].Partitions[0].ActiveProducers) != 1 {
		t.Fatalf("%v, %v", producers, err)
	}
	versions, err := adm.ApiVersions(limited(t))
	if err != nil || len(versions) != len(bootstrap()) {
		t.Fatalf("%v, %v", versions, err)
	}
}

func TestLeadersAndReplicasAreWhereTheyAreWanted(t *testing.T) {
	t.Parallel()
	made, missing, adm := topic(t, 1, nil), name("go"), admin(t)
	places := make(kadm.TopicsSet)
	places.Add(made, 0)
	places.Add(missing, 0)
	for _, how := range []kadm.ElectLeadersHow{kadm.ElectPreferredReplica, kadm.ElectLiveReplica} {
		elected, err := adm.ElectLeaders(limited(t), how, places)
		if err != nil {
			t.Fatal(err)
		}
		fails(t, kerr.ElectionNotNeeded, elected[made][0].Err)
		fails(t, kerr.UnknownTopicOrPartition, elected[missing][0].Err)
	}
	described, err := adm.ListTopics(limited(t), made)
	if err != nil {
		t.Fatal(err)
	}
	here := described[made].Partitions[0].Replicas
	assign := func(topic string, nodes ...int32) error {
		var wanted kadm.AlterPartitionAssignmentsReq
		wanted.Assign(topic, 0, nodes)
		answers, err := adm.AlterPartitionAssignments(kadm.ForbidAlterRf(limited(t)), wanted)
		if err == nil {
			err = answers.Error()
		}
		return err
	}
	if err := assign(made, here...); err != nil {
		t.Fatal(err)
	}
	fails(t, kerr.InvalidReplicaAssignment, assign(made, append([]int32{1000}, here[1:]...)...))
	fails(t, kerr.NoReassignmentInProgress, assign(made))
	fails(t, kerr.UnknownTopicOrPartition, assign(missing, here...))
	moving, err := adm.ListPartitionReassignments(limited(t), places)
	if err != nil || len(moving) != 0 {
		t.Fatalf("%v, %v", moving, err)
	}
}
