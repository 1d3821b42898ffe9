// One member of the group that consumes the corpus with franz-go, until SIGTERM.
//
// consumer BOOTSTRAP TOPIC JOURNAL writes to the journal "A PARTITION" when a partition is assigned, and for each
// record "R PARTITION OFFSET LENGTH", a line end, the value and a line end. Offsets are committed after the journal is
// written: what is delivered again after a death is never missing.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Seldom enough that a member that dies has delivered what it did not commit.
const commitEvery = time.Second

func main() {
	bootstrap, topic, path := os.Args[1], os.Args[2], os.Args[3]
	file, err := os.Create(path)
	if err != nil {
		fail(err)
	}
	journal := bufio.NewWriterSize(file, 1<<20)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()

	// The callbacks run only while a poll waits, so the journal has one writer at a time.
	assigned := func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
		for _, partition := range partitions[topic] {
			fmt.Fprintf(journal, "A %d\n", partition)
		}
	}
	revoked := func(ctx context.Context, client *kgo.Client, _ map[string][]int32) {
		if err := client.CommitUncommittedOffsets(ctx); err != nil {
			fmt.Println("commit when revoked:", err)
		}
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(bootstrap, ",")...),
		kgo.ConsumerGroup(topic+"-readers"),
		kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.SessionTimeout(6*time.Second),
		kgo.HeartbeatInterval(time.Second),
		kgo.MetadataMinAge(500*time.Millisecond),
		kgo.MetadataMaxAge(2*time.Second),
		kgo.UnknownTopicRetries(-1),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(assigned),
		kgo.OnPartitionsRevoked(revoked),
		kgo.OnPartitionsLost(func(context.Context, *kgo.Client, map[string][]int32) {}),
		kgo.WithLogger(kgo.BasicLogger(os.Stdout, kgo.LogLevelWarn, nil)),
	)
	if err != nil {
		fail(err)
	}
	committed := time.Now()
	for ctx.Err() == nil {
		client.AllowRebalance()
		fetches := client.PollRecords(ctx, 5000)
		for _, failed := range fetches.Errors() {
			if !errors.Is(failed.Err, context.Canceled) {
				fmt.Println("fetch:", failed.Topic, failed.Partition, failed.Err)
			}
		}
		fetches.EachRecord(func(record *kgo.Record) {
			fmt.Fprintf(journal, "R %d %d %d\n", record.Partition, record.Offset, len(record.Value))
			journal.Write(record.Value)
			journal.WriteByte('\n')
		})
		if err := journal.Flush(); err != nil {
			fail(err)
		}
		if time.Since(committed) >= commitEvery {
			commit(ctx, client)
			committed = time.Now()
		}
	}
	client.AllowRebalance()
	client.Close()
}

// commit bounds one attempt: while the server is away, polling goes on and a later attempt commits more.
func commit(ctx context.Context, client *kgo.Client) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := client.CommitUncommittedOffsets(ctx); err != nil && ctx.Err() == nil {
		fmt.Println("commit:", err)
	}
}

func fail(err error) {
	fmt.Println(err)
	os.Exit(1)
}
