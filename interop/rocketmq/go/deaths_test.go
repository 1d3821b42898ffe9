// Scenarios in which a process is killed: a member of a group, or the server.
package rocketmq

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
)

// member is a member of a group in a process of its own, so that it can be killed. It prints QUEUE@OFFSET for each message.
func member(group, topic string) {
	made, err := rocketmq.NewPushConsumer(
		consumer.WithNsResolver(nameServer()),
		consumer.WithGroupName(group),
		consumer.WithInstance(name("instance")),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	if err == nil {
		err = made.Subscribe(topic, all, func(_ context.Context, some ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
			for _, one := range some {
				fmt.Printf("%d@%d\n", one.Queue.QueueId, one.QueueOffset)
			}
			return consumer.ConsumeSuccess, nil
		})
	}
	if err == nil {
		err = made.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// Whoever started it has it killed, or ends and closes this.
	io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

func TestTheQueuesOfAKilledProcessGoToTheOthers(t *testing.T) {
	t.Parallel()
	client := newProducer(t)
	topic := fill(t, client, 8)
	group := name("group")
	process := exec.Command(os.Args[0])
	process.Env = append(os.Environ(), "MEMBER_OF="+group, "MEMBER_READS="+topic)
	input, err := process.StdinPipe()
	must(t, err)
	defer input.Close()
	output, err := process.StdoutPipe()
	must(t, err)
	must(t, process.Start())
	defer process.Wait()
	defer process.Process.Kill()
	var lines atomic.Int64
	go func() {
		for reader := bufio.NewScanner(output); reader.Scan(); {
			lines.Add(1)
		}
	}()
	eventually(t, "the process receives", func() bool { return lines.Load() >= 8 })
	var box inbox
	start(t, newConsumer(t, group), topic, all, box.receive)
	must(t, process.Process.Kill())
	more(t, client, topic, 8, 24)
	eventually(t, "everything that comes then arrives", func() bool {
		found := map[string]bool{}
		for _, one := range box.all() {
			found[string(one.Body)] = true
		}
		for number := 8; number < 24; number++ {
			if !found[fmt.Sprint(number)] {
				return false
			}
		}
		return true
	})
	crossRead(t, firsts(box.all()))
}

// Not parallel, so that it comes before the scenarios that are.
func TestClientsGoOnWhenTheServerIsRestarted(t *testing.T) {
	if os.Getenv("CONTROL") == "" {
		// The server is not the run's to restart.
		return
	}
	for _, how := range []string{"stop", "kill"} {
		t.Run(how, func(t *testing.T) { restarted(t, how) })
	}
}

func restarted(t *testing.T, how string) {
	client := newProducer(t)
	topic := fill(t, client, 100)
	var box inbox
	start(t, newConsumer(t, name("group")), topic, all, box.receive)
	acknowledged := map[string]bool{}
	for number := range 100 {
		acknowledged[fmt.Sprint(number)] = true
	}
	restart(t, how)
	eventually(t, "the producer goes on", func() bool {
		body := fmt.Sprint(len(acknowledged))
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		if result, err := client.SendSync(ctx, message(topic, body)); err == nil && result.Status == primitive.SendOK {
			acknowledged[body] = true
		}
		return len(acknowledged) >= 200
	})
	eventually(t, "everything arrives", func() bool {
		for _, one := range box.all() {
			delete(acknowledged, string(one.Body))
		}
		return len(acknowledged) == 0
	})
	crossRead(t, firsts(box.all()))
}

// firsts leaves out what came again.
func firsts(messages []*primitive.MessageExt) []*primitive.MessageExt {
	found := map[string]bool{}
	var kept []*primitive.MessageExt
	for _, one := range messages {
		place := fmt.Sprintf("%d@%d", one.Queue.QueueId, one.QueueOffset)
		if !found[place] {
			found[place] = true
			kept = append(kept, one)
		}
	}
	return kept
}

// restart asks the run to restart the server on the same data and ports: "stop" lets it end in its own way, "kill" is `kill -9`.
func restart(t *testing.T, how string) {
	connection, err := net.Dial("tcp", os.Getenv("CONTROL"))
	must(t, err)
	defer connection.Close()
	_, err = fmt.Fprintln(connection, how)
	must(t, err)
	answer, err := bufio.NewReader(connection).ReadString('\n')
	must(t, err)
	equal(t, "ok\n", answer)
}
