// Scenarios for RocketMQ's Go client against the name server at NAMESRV. When a scenario is over, a Kafka client reads its topics at
// BOOTSTRAP, unless that is empty.
package rocketmq

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Longer than the 20 s after which clients look at their queues again.
const deadline = 60 * time.Second

func TestMain(m *testing.M) {
	rlog.SetLogLevel("error")
	if group := os.Getenv("MEMBER_OF"); group != "" {
		member(group, os.Getenv("MEMBER_READS"))
	}
	os.Exit(m.Run())
}

func nameServer() primitive.NsResolver {
	return primitive.NewPassthroughResolver(strings.Split(os.Getenv("NAMESRV"), ";"))
}

// name gives one that nobody else has.
func name(kind string) string {
	random := make([]byte, 8)
	rand.Read(random)
	return kind + "-" + hex.EncodeToString(random)
}

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t *testing.T, expected, got T) {
	t.Helper()
	if expected != got {
		t.Fatalf("expected %v, got %v", expected, got)
	}
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

func newProducer(t *testing.T) rocketmq.Producer {
	t.Helper()
	made, err := rocketmq.NewProducer(
		producer.WithNsResolver(nameServer()),
		producer.WithGroupName(name("producers")),
		producer.WithInstanceName(name("instance")),
		producer.WithSendMsgTimeout(10*time.Second),
		producer.WithRetry(2))
	must(t, err)
	must(t, made.Start())
	t.Cleanup(func() { made.Shutdown() })
	return made
}

func message(topic, body string) *primitive.Message {
	return primitive.NewMessage(topic, []byte(body))
}

// fill creates a topic by its first message and sends it the numbers from 0; what was sent is checked when the scenario ends.
func fill(t *testing.T, client rocketmq.Producer, count int) string {
	t.Helper()
	topic := name("go")
	more(t, client, topic, 0, count)
	return topic
}

func more(t *testing.T, client rocketmq.Producer, topic string, from, to int) {
	t.Helper()
	for number := from; number < to; number++ {
		result, err := client.SendSync(limited(t), message(topic, fmt.Sprint(number)))
		must(t, err)
		equal(t, primitive.SendOK, result.Status)
	}
}

// inbox collects what consumers receive.
type inbox struct {
	mutex    sync.Mutex
	messages []*primitive.MessageExt
}

func (box *inbox) add(some ...*primitive.MessageExt) {
	box.mutex.Lock()
	defer box.mutex.Unlock()
	box.messages = append(box.messages, some...)
}

func (box *inbox) receive(_ context.Context, some ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
	box.add(some...)
	return consumer.ConsumeSuccess, nil
}

func (box *inbox) all() []*primitive.MessageExt {
	box.mutex.Lock()
	defer box.mutex.Unlock()
	return slices.Clone(box.messages)
}

// take waits for so many messages, expects no more, and has them cross-read.
func (box *inbox) take(t *testing.T, count int) []*primitive.MessageExt {
	t.Helper()
	eventually(t, fmt.Sprintf("%d messages", count), func() bool { return len(box.all()) >= count })
	messages := box.all()
	equal(t, count, len(messages))
	equal(t, count, places(messages))
	crossRead(t, messages)
	return messages
}

// places counts the different places among the messages.
func places(messages []*primitive.MessageExt) int {
	found := map[string]bool{}
	for _, one := range messages {
		found[fmt.Sprintf("%s %d@%d", one.Topic, one.Queue.QueueId, one.QueueOffset)] = true
	}
	return len(found)
}

func bodies(messages []*primitive.MessageExt) string {
	var all []string
	for _, one := range messages {
		all = append(all, string(one.Body))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

var all = consumer.MessageSelector{Type: consumer.TAG, Expression: "*"}

func newConsumer(t *testing.T, group string, options ...consumer.Option) rocketmq.PushConsumer {
	t.Helper()
	made, err := rocketmq.NewPushConsumer(append([]consumer.Option{
		consumer.WithNsResolver(nameServer()),
		consumer.WithGroupName(group),
		consumer.WithInstance(name("instance")),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset)}, options...)...)
	must(t, err)
	return made
}

type listener func(context.Context, ...*primitive.MessageExt) (consumer.ConsumeResult, error)

func start(t *testing.T, made rocketmq.PushConsumer, topic string, selector consumer.MessageSelector, receive listener) {
	t.Helper()
	must(t, made.Subscribe(topic, selector, receive))
	must(t, made.Start())
	t.Cleanup(func() { made.Shutdown() })
}

// crossRead holds messages against what a Kafka client sees.
func crossRead(t *testing.T, messages []*primitive.MessageExt) {
	t.Helper()
	bootstrap := os.Getenv("BOOTSTRAP")
	if bootstrap == "" || len(messages) == 0 {
		return
	}
	wanted := map[int]map[int64]*primitive.MessageExt{}
	begin := map[int32]kgo.Offset{}
	for _, one := range messages {
		queue := one.Queue.QueueId
		if wanted[queue] == nil {
			wanted[queue] = map[int64]*primitive.MessageExt{}
			begin[int32(queue)] = kgo.NewOffset().AtStart()
		}
		wanted[queue][one.QueueOffset] = one
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(bootstrap, ",")...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{messages[0].Topic: begin}))
	must(t, err)
	defer client.Close()
	ctx := limited(t)
	for left := len(messages); left > 0; {
		fetches := client.PollFetches(ctx)
		must(t, fetches.Err())
		for _, record := range fetches.Records() {
			one := wanted[int(record.Partition)][record.Offset]
			if one == nil {
				continue
			}
			left--
			if !bytes.Equal(record.Value, one.Body) {
				t.Fatalf("%d@%d: value %q, body %q", record.Partition, record.Offset, record.Value, one.Body)
			}
			equal(t, one.GetKeys(), string(record.Key))
			equal(t, one.BornTimestamp, record.Timestamp.UnixMilli())
			equal(t, one.GetTags(), header(record, "TAGS"))
			equal(t, one.GetProperty("UNIQ_KEY"), header(record, "UNIQ_KEY"))
		}
	}
}

func header(record *kgo.Record, key string) string {
	for _, one := range record.Headers {
		if one.Key == key {
			return string(one.Value)
		}
	}
	return ""
}
