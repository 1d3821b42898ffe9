package rocketmq

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

func TestAWaitingProducerIsToldWhatAConsumerSees(t *testing.T) {
	t.Parallel()
	client := newProducer(t)
	topic := name("go")
	sent := map[string]*primitive.SendResult{}
	for number := range 20 {
		result, err := client.SendSync(limited(t), message(topic, fmt.Sprint(number)))
		must(t, err)
		equal(t, primitive.SendOK, result.Status)
		sent[fmt.Sprint(number)] = result
	}
	var box inbox
	start(t, newConsumer(t, name("group")), topic, all, box.receive)
	for _, one := range box.take(t, 20) {
		result := sent[string(one.Body)]
		equal(t, result.MsgID, one.MsgId)
		equal(t, result.OffsetMsgID, one.OffsetMsgId)
		equal(t, result.MessageQueue.QueueId, one.Queue.QueueId)
		equal(t, result.QueueOffset, one.QueueOffset)
	}
}

func TestCallbacksAndOneWayMessages(t *testing.T) {
	t.Parallel()
	client := newProducer(t)
	topic := fill(t, client, 1)
	var group sync.WaitGroup
	for number := range 50 {
		group.Add(1)
		must(t, client.SendAsync(limited(t), func(_ context.Context, _ *primitive.SendResult, err error) {
			if err != nil {
				t.Error(err)
			}
			group.Done()
		}, message(topic, fmt.Sprintf("async %d", number))))
	}
	group.Wait()
	for number := range 50 {
		must(t, client.SendOneWay(limited(t), message(topic, fmt.Sprintf("one-way %d", number))))
	}
	var box inbox
	start(t, newConsumer(t, name("group")), topic, all, box.receive)
	box.take(t, 101)
}

func TestABatchLiesInOneQueue(t *testing.T) {
	t.Parallel()
	client := newProducer(t)
	topic := fill(t, client, 1)
	var batch []*primitive.Message
	for number := range 20 {
		batch = append(batch, message(topic, fmt.Sprintf("batch %02d", number)).WithTag("batch").WithKeys([]string{fmt.Sprint(number)}))
	}
	result, err := client.SendSync(limited(t), batch...)
	must(t, err)
	equal(t, primitive.SendOK, result.Status)
	var box inbox
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: "batch"}
	start(t, newConsumer(t, name("group")), topic, selector, box.receive)
	for _, one := range box.take(t, 20) {
		equal(t, result.MessageQueue.QueueId, one.Queue.QueueId)
		equal(t, fmt.Sprintf("batch %02d", one.QueueOffset-result.QueueOffset), string(one.Body))
	}
}

func TestEverythingAMessageCarriesArrives(t *testing.T) {
	t.Parallel()
	client := newProducer(t)
	topic := name("go")
	// More than 4 KiB: the client compresses it.
	body := strings.Repeat("zlib is good at this. ", 1000)
	sent := message(topic, body).WithTag("tag").WithKeys([]string{"one", "two"})
	sent.Flag = 7
	sent.WithProperty("colour", "grün")
	_, err := client.SendSync(limited(t), sent)
	must(t, err)
	var box inbox
	start(t, newConsumer(t, name("group")), topic, all, box.receive)
	one := box.take(t, 1)[0]
	equal(t, body, string(one.Body))
	equal(t, "tag", one.GetTags())
	equal(t, "one two", strings.TrimSpace(one.GetKeys()))
	equal(t, "grün", one.GetProperty("colour"))
	equal(t, 7, one.Flag)
}

func TestAGroupReadsOnWhereItStopped(t *testing.T) {
	t.Parallel()
	client := newProducer(t)
	topic := fill(t, client, 40)
	group := name("group")
	for round := range 2 {
		var box inbox
		member := newConsumer(t, group)
		start(t, member, topic, all, box.receive)
		box.take(t, 40)
		must(t, member.Shutdown())
		more(t, client, topic, 40*(round+1), 40*(round+2))
	}
}

func TestAnOrderlyConsumerKeepsTheOrder(t *testing.T) {
	t.Parallel()
	topic := fill(t, newProducer(t), 100)
	var box inbox
	start(t, newConsumer(t, name("group"), consumer.WithConsumerOrder(true)), topic, all, box.receive)
	next := map[int]int64{}
	for _, one := range box.take(t, 100) {
		equal(t, next[one.Queue.QueueId], one.QueueOffset)
		next[one.Queue.QueueId]++
	}
}

func coloured(t *testing.T) string {
	t.Helper()
	client := newProducer(t)
	topic := name("go")
	for number := range 30 {
		sent := message(topic, fmt.Sprint(number)).WithTag([]string{"red", "green", "blue"}[number%3])
		sent.WithProperty("number", fmt.Sprint(number))
		_, err := client.SendSync(limited(t), sent)
		must(t, err)
	}
	return topic
}

func TestTagsAreFilteredBy(t *testing.T) {
	t.Parallel()
	topic := coloured(t)
	var box inbox
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: "red || blue"}
	start(t, newConsumer(t, name("group")), topic, selector, box.receive)
	for _, one := range box.take(t, 20) {
		if one.GetTags() == "green" {
			t.Fatal("a green message")
		}
	}
}

func TestSqlFilters(t *testing.T) {
	t.Parallel()
	topic := coloured(t)
	var box inbox
	selector := consumer.MessageSelector{Type: consumer.SQL92, Expression: "number < 6 AND TAGS IN ('red', 'blue')"}
	start(t, newConsumer(t, name("group")), topic, selector, box.receive)
	equal(t, "0 2 3 5", bodies(box.take(t, 4)))
}

func TestWithBroadcastingEveryMemberGetsEverything(t *testing.T) {
	t.Parallel()
	topic := fill(t, newProducer(t), 20)
	group := name("group")
	var boxes [2]inbox
	for at := range boxes {
		start(t, newConsumer(t, group, consumer.WithConsumerModel(consumer.BroadCasting)), topic, all, boxes[at].receive)
	}
	for at := range boxes {
		boxes[at].take(t, 20)
	}
}

func TestMembersShareTheQueues(t *testing.T) {
	t.Parallel()
	client := newProducer(t)
	topic := fill(t, client, 8)
	group := name("group")
	var one, two inbox
	start(t, newConsumer(t, group), topic, all, one.receive)
	one.take(t, 8)
	second := newConsumer(t, group)
	start(t, second, topic, all, two.receive)
	sent := 8
	eventually(t, "the second member gets something", func() bool {
		more(t, client, topic, sent, sent+8)
		sent += 8
		return len(two.all()) > 0
	})
	must(t, second.Shutdown())
	more(t, client, topic, sent, sent+8)
	eventually(t, "everything arrives", func() bool { return places(append(one.all(), two.all()...)) == sent+8 })
}

func TestAMessageThatFailedComesAgain(t *testing.T) {
	t.Parallel()
	topic := fill(t, newProducer(t), 5)
	var box inbox
	start(t, newConsumer(t, name("group")), topic, all, func(ctx context.Context, some ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		box.add(some...)
		if some[0].ReconsumeTimes == 0 && string(some[0].Body) == "3" {
			concurrently, _ := primitive.GetConcurrentlyCtx(ctx)
			concurrently.DelayLevelWhenNextConsume = 1
			return consumer.ConsumeRetryLater, nil
		}
		return consumer.ConsumeSuccess, nil
	})
	eventually(t, "it comes again", func() bool { return len(box.all()) == 6 })
	equal(t, "0 1 2 3 3 4", bodies(box.all()))
}

func TestAPullConsumer(t *testing.T) {
	t.Parallel()
	client := newProducer(t)
	topic := fill(t, client, 30)
	made, err := rocketmq.NewPullConsumer(
		consumer.WithNsResolver(nameServer()),
		consumer.WithGroupName(name("group")),
		consumer.WithInstance(name("instance")),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	must(t, err)
	must(t, made.Subscribe(topic, all))
	must(t, made.Start())
	t.Cleanup(func() { made.Shutdown() })
	var box inbox
	eventually(t, "30 messages", func() bool {
		request, err := made.Poll(context.Background(), time.Second)
		if err == nil {
			box.add(request.GetMsgList()...)
			made.ACK(context.Background(), request, consumer.ConsumeSuccess)
		}
		return len(box.all()) >= 30
	})
	box.take(t, 30)
}
