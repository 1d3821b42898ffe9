package interop

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// shareGroup makes a group that begins at the start of its topics.
func shareGroup(t *testing.T) string {
	t.Helper()
	group, earliest := name("share"), "earliest"
	config := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	config.Name, config.Op, config.Value = "share.auto.offset.reset", kmsg.IncrementalAlterConfigOpSet, &earliest
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeGroupConfig, group
	resource.Configs = append(resource.Configs, config)
	request := kmsg.NewPtrIncrementalAlterConfigsRequest()
	request.Resources = append(request.Resources, resource)
	response, err := request.RequestWith(limited(t), client(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := kerr.ErrorForCode(response.Resources[0].ErrorCode); err != nil {
		t.Fatal(err)
	}
	return group
}

// sharer is a client of a share group.
func sharer(t *testing.T, group, topic string, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	all := append([]kgo.Opt{kgo.SeedBrokers(bootstrap()...), kgo.ShareGroup(group), kgo.ConsumeTopics(topic)}, options...)
	made, err := kgo.NewClient(all...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(made.Close)
	return made
}

// fillShared produces the values 0, 1, ... to partition 0.
func fillShared(t *testing.T, topic string, count int) {
	t.Helper()
	producer := client(t, kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for number := range count {
		if err := producer.ProduceSync(limited(t), kgo.StringRecord(fmt.Sprint(number))).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestShareGroupMembersShareOnePartition(t *testing.T) {
	const count = 200
	queue, group := topic(t, 1, nil), shareGroup(t)
	ctx, cancel := context.WithTimeout(limited(t), deadline)
	defer cancel()
	var lock sync.Mutex
	seen, twice := map[string]int{}, []string{}
	var members sync.WaitGroup
	for number := range 3 {
		member := sharer(t, group, queue, kgo.ShareMaxRecords(5), kgo.ShareMaxRecordsStrict())
		members.Add(1)
		go func() {
			defer members.Done()
			for ctx.Err() == nil {
				waiting, done := context.WithTimeout(ctx, 500*time.Millisecond)
				fetches := member.PollFetches(waiting)
				done()
				lock.Lock()
				fetches.EachRecord(func(record *kgo.Record) {
					if _, known := seen[string(record.Value)]; known {
						twice = append(twice, string(record.Value))
					}
					seen[string(record.Value)] = number
					record.Ack(kgo.AckAccept)
				})
				if len(seen) >= count {
					cancel()
				}
				lock.Unlock()
			}
		}()
	}
	fillShared(t, queue, count)
	members.Wait()
	if len(seen) != count || len(twice) != 0 {
		t.Fatalf("%d of %d records, twice: %v", len(seen), count, twice)
	}
}

func TestShareGroupRecordsAreGivenBackAndRejected(t *testing.T) {
	queue, group := topic(t, 1, nil), shareGroup(t)
	fillShared(t, queue, 6)
	ctx := limited(t)
	deliveries, done := map[string]int32{}, map[string]bool{}
	consumer := sharer(t, group, queue)
	for len(done) < 6 && ctx.Err() == nil {
		consumer.PollFetches(ctx).EachRecord(func(record *kgo.Record) {
			value := string(record.Value)
			if done[value] {
				t.Errorf("%s was delivered again", value)
			}
			deliveries[value] = record.DeliveryCount()
			switch {
			case record.Offset%3 == 1 && record.DeliveryCount() == 1:
				record.Ack(kgo.AckRelease)
				return
			case record.Offset%3 == 2:
				record.Ack(kgo.AckReject)
			default:
				record.Ack(kgo.AckAccept)
			}
			done[value] = true
		})
		if err := consumer.FlushAcks(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for value, wanted := range map[string]int32{"0": 1, "1": 2, "2": 1, "3": 1, "4": 2, "5": 1} {
		if deliveries[value] != wanted {
			t.Errorf("%s was delivered %d times, not %d", value, deliveries[value], wanted)
		}
	}
}
