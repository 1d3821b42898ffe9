// Scenarios for franz-go, and kadm, against the server at BOOTSTRAP.
package interop

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Longer than a session timeout.
const deadline = 30 * time.Second

// One address for each node.
func bootstrap() []string { return strings.Split(os.Getenv("BOOTSTRAP"), ",") }

// name gives one that nobody else has.
func name(kind string) string {
	random := make([]byte, 8)
	rand.Read(random)
	return kind + "-" + hex.EncodeToString(random)
}

// limited gives a context that ends with the scenario or its deadline.
func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	t.Cleanup(cancel)
	return ctx
}

func client(t *testing.T, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	all := append([]kgo.Opt{
		kgo.SeedBrokers(bootstrap()...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.SessionTimeout(6 * time.Second),
		kgo.HeartbeatInterval(500 * time.Millisecond),
		kgo.MetadataMinAge(100 * time.Millisecond),
		kgo.MetadataMaxAge(time.Second),
	}, options...)
	made, err := kgo.NewClient(all...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(made.Close)
	return made
}

func admin(t *testing.T) *kadm.Client {
	t.Helper()
	return kadm.NewClient(client(t))
}

// topic creates one and waits until all of its partitions answer.
func topic(t *testing.T, partitions int32, configs map[string]string) string {
	t.Helper()
	made := name("go")
	pointers := map[string]*string{}
	for key, value := range configs {
		pointers[key] = kadm.StringPtr(value)
	}
	adm := admin(t)
	if _, err := adm.CreateTopic(limited(t), partitions, 1, pointers, made); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the topic is online", func() bool {
		ends, err := adm.ListEndOffsets(limited(t), made)
		return err == nil && ends.Error() == nil && len(ends[made]) == int(partitions)
	})
	return made
}

func eventually(t *testing.T, what string, attempt func() bool) {
	t.Helper()
	end := time.Now().Add(deadline)
	for !attempt() {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", deadline, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func produce(t *testing.T, producer *kgo.Client, records ...*kgo.Record) {
	t.Helper()
	if err := producer.ProduceSync(limited(t), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// numbered gives records with the values "0", "1", ... for partitions in turn.
func numbered(topic string, count int, partitions int32) []*kgo.Record {
	records := make([]*kgo.Record, count)
	for at := range records {
		records[at] = &kgo.Record{Topic: topic, Partition: int32(at) % partitions, Value: fmt.Appendf(nil, "%d", at)}
	}
	return records
}

// take polls until so many records have come.
func take(t *testing.T, consumer *kgo.Client, count int) []*kgo.Record {
	t.Helper()
	var records []*kgo.Record
	ctx := limited(t)
	for len(records) < count {
		fetches := consumer.PollRecords(ctx, count-len(records))
		if err := fetches.Err(); err != nil {
			t.Fatalf("%d of %d records, then %v", len(records), count, err)
		}
		records = append(records, fetches.Records()...)
	}
	return records
}

// read gives the first records of a partition.
func read(t *testing.T, topic string, partition int32, count int) []*kgo.Record {
	t.Helper()
	return take(t, at(t, topic, partition, kgo.NewOffset().AtStart()), count)
}

// at gives a consumer without a group that begins at an offset.
func at(t *testing.T, topic string, partition int32, offset kgo.Offset, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	place := map[string]map[int32]kgo.Offset{topic: {partition: offset}}
	return client(t, append(options, kgo.ConsumePartitions(place))...)
}

func fails(t *testing.T, expected *kerr.Error, err error) {
	t.Helper()
	if !errors.Is(err, expected) {
		t.Fatalf("expected %s, got %v", expected.Message, err)
	}
}

func equal[T comparable](t *testing.T, expected, got T) {
	t.Helper()
	if expected != got {
		t.Fatalf("expected %v, got %v", expected, got)
	}
}
