package rocketmq

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

// decider answers for transactions: at once by the message's body, and when it is asked.
type decider struct {
	first, later func(body string) primitive.LocalTransactionState
	asked        sync.Map
}

func (d *decider) ExecuteLocalTransaction(message *primitive.Message) primitive.LocalTransactionState {
	return d.first(string(message.Body))
}

func (d *decider) CheckLocalTransaction(message *primitive.MessageExt) primitive.LocalTransactionState {
	d.asked.Store(string(message.Body), true)
	return d.later(string(message.Body))
}

func always(state primitive.LocalTransactionState) func(string) primitive.LocalTransactionState {
	return func(string) primitive.LocalTransactionState { return state }
}

func newTransactionProducer(t *testing.T, group string, listener *decider) rocketmq.TransactionProducer {
	t.Helper()
	made, err := rocketmq.NewTransactionProducer(listener,
		producer.WithNsResolver(nameServer()),
		producer.WithGroupName(group),
		producer.WithInstanceName(name("instance")),
		producer.WithSendMsgTimeout(10*time.Second),
		producer.WithRetry(2))
	must(t, err)
	must(t, made.Start())
	return made
}

// prepare sends a message about which producers are asked after a second.
func prepare(t *testing.T, client rocketmq.TransactionProducer, topic, body string) {
	t.Helper()
	half := message(topic, body).WithKeys([]string{"key-" + body})
	half.WithProperty("CHECK_IMMUNITY_TIME_IN_SECONDS", "1")
	result, err := client.SendMessageInTransaction(limited(t), half)
	must(t, err)
	equal(t, primitive.SendOK, result.Status)
}

func TestATransactionIsSeenOnceItIsCommitted(t *testing.T) {
	t.Parallel()
	listener := &decider{later: always(primitive.UnknowState)}
	listener.first = func(body string) primitive.LocalTransactionState {
		switch body {
		case "kept":
			return primitive.CommitMessageState
		case "lost":
			return primitive.RollbackMessageState
		}
		return primitive.UnknowState
	}
	client := newTransactionProducer(t, name("payers"), listener)
	t.Cleanup(func() { client.Shutdown() })
	topic := name("go")
	for _, body := range []string{"lost", "open", "kept"} {
		prepare(t, client, topic, body)
	}
	var box inbox
	start(t, newConsumer(t, name("group")), topic, all, box.receive)
	one := box.take(t, 1)[0]
	equal(t, "kept", string(one.Body))
	equal(t, int64(0), one.QueueOffset)
}

func TestATransactionProducerIsAskedWhatItHasNotDecided(t *testing.T) {
	t.Parallel()
	listener := &decider{first: always(primitive.UnknowState)}
	listener.later = func(body string) primitive.LocalTransactionState {
		if body == "lost" {
			return primitive.RollbackMessageState
		}
		return primitive.CommitMessageState
	}
	client := newTransactionProducer(t, name("payers"), listener)
	t.Cleanup(func() { client.Shutdown() })
	topic := name("go")
	prepare(t, client, topic, "lost")
	prepare(t, client, topic, "kept")
	var box inbox
	start(t, newConsumer(t, name("group")), topic, all, box.receive)
	equal(t, "kept", bodies(box.take(t, 1)))
	for _, body := range []string{"lost", "kept"} {
		eventually(t, fmt.Sprintf("it is asked for %s", body), func() bool {
			_, asked := listener.asked.Load(body)
			return asked
		})
	}
}

func TestATransactionIsInheritedByAnotherProducerOfTheGroup(t *testing.T) {
	t.Parallel()
	group, topic := name("payers"), name("go")
	first := newTransactionProducer(t, group, &decider{first: always(primitive.UnknowState), later: always(primitive.UnknowState)})
	prepare(t, first, topic, "inherited")
	must(t, first.Shutdown())
	heir := newTransactionProducer(t, group, &decider{first: always(primitive.UnknowState), later: always(primitive.CommitMessageState)})
	t.Cleanup(func() { heir.Shutdown() })
	// A producer that has not sent anything knows no topic, and tells no server of itself.
	prepare(t, heir, topic, "own")
	var box inbox
	start(t, newConsumer(t, name("group")), topic, all, box.receive)
	equal(t, "inherited own", bodies(box.take(t, 2)))
}
