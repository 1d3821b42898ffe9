package interop

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// member consumes in the background and remembers what it has and what it saw.
type member struct {
	client *kgo.Client
	stop   context.CancelFunc
	ended  chan struct{}

	// lock guards what follows.
	lock        sync.Mutex
	partitions  map[int32]bool
	assignments int
	seen        []*kgo.Record
}

func join(t *testing.T, group, topic string, options ...kgo.Opt) *member {
	t.Helper()
	made := &member{partitions: map[int32]bool{}, ended: make(chan struct{})}
	lost := func(_ context.Context, _ *kgo.Client, gone map[string][]int32) {
		made.lock.Lock()
		defer made.lock.Unlock()
		for _, partition := range gone[topic] {
			delete(made.partitions, partition)
		}
	}
	assigned := func(_ context.Context, _ *kgo.Client, new map[string][]int32) {
		made.lock.Lock()
		defer made.lock.Unlock()
		made.assignments++
		for _, partition := range new[topic] {
			made.partitions[partition] = true
		}
	}
	made.client = client(t, append([]kgo.Opt{
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(assigned), kgo.OnPartitionsLost(lost),
		kgo.OnPartitionsRevoked(func(ctx context.Context, client *kgo.Client, gone map[string][]int32) {
			if err := client.CommitUncommittedOffsets(ctx); err != nil {
				fmt.Println("commit when revoked:", err)
			}
			lost(ctx, client, gone)
		}),
	}, options...)...)
	ctx, cancel := context.WithCancel(context.Background())
	made.stop = cancel
	go func() {
		defer close(made.ended)
		for ctx.Err() == nil {
			fetches := made.client.PollRecords(ctx, 100)
			made.lock.Lock()
			made.seen = append(made.seen, fetches.Records()...)
			made.lock.Unlock()
			made.client.AllowRebalance()
		}
	}()
	t.Cleanup(made.leave)
	return made
}

// leave says good-bye to the group, unless the member is static.
func (m *member) leave() {
	m.stop()
	<-m.ended
	m.client.CloseAllowingRebalance()
}

func (m *member) has() []int32 {
	m.lock.Lock()
	defer m.lock.Unlock()
	var all []int32
	for partition := range m.partitions {
		all = append(all, partition)
	}
	slices.Sort(all)
	return all
}

func (m *member) rebalances() int {
	m.lock.Lock()
	defer m.lock.Unlock()
	return m.assignments
}

// settle waits until each has so many partitions and none is with two.
func settle(t *testing.T, each int, members ...*member) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d partitions for each of %d members", each, len(members)), func() bool {
		all := map[int32]bool{}
		for _, one := range members {
			had := one.has()
			if len(had) != each {
				return false
			}
			for _, partition := range had {
				all[partition] = true
			}
		}
		return len(all) == each*len(members)
	})
}

// places counts how often each record was seen.
func places(members ...*member) (distinct map[string]bool, total int) {
	distinct = map[string]bool{}
	for _, one := range members {
		one.lock.Lock()
		for _, record := range one.seen {
			distinct[fmt.Sprint(record.Partition, "@", record.Offset)] = true
			total++
		}
		one.lock.Unlock()
	}
	return distinct, total
}

func TestMembersShareThePartitionsAndHandThemOver(t *testing.T) {
	balancers := map[string]kgo.GroupBalancer{
		"range": kgo.RangeBalancer(), "roundrobin": kgo.RoundRobinBalancer(),
		"sticky": kgo.StickyBalancer(), "cooperative-sticky": kgo.CooperativeStickyBalancer(),
	}
	for balancer, option := range balancers {
		t.Run(balancer, func(t *testing.T) {
			t.Parallel()
			made, group := topic(t, 6, nil), name("group")
			producer := client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()))
			produce(t, producer, numbered(made, 300, 6)...)
			one := join(t, group, made, kgo.Balancers(option))
			settle(t, 6, one)
			two := join(t, group, made, kgo.Balancers(option))
			three := join(t, group, made, kgo.Balancers(option))
			settle(t, 2, one, two, three)
			produce(t, producer, numbered(made, 300, 6)...)
			eventually(t, "600 records at three members", func() bool {
				distinct, _ := places(one, two, three)
				return len(distinct) == 600
			})
			three.leave()
			settle(t, 3, one, two)
			produce(t, producer, numbered(made, 60, 6)...)
			eventually(t, "the rest at two members", func() bool {
				distinct, _ := places(one, two, three)
				return len(distinct) == 660
			})
			if _, total := places(one, two, three); total != 660 {
				t.Fatalf("%d records were delivered, not 660", total)
			}
		})
	}
}

func TestAMemberThatDiesLosesItsPartitions(t *testing.T) {
	t.Parallel()
	made, group := topic(t, 4, nil), name("group")
	stays := join(t, group, made)
	// A static member does not say that it leaves: for the group it just falls silent.
	dies := join(t, group, made, kgo.InstanceID("dies"))
	settle(t, 2, stays, dies)
	dies.leave()
	settle(t, 4, stays)
}

func TestAStaticMemberComesBackWithoutARebalance(t *testing.T) {
	t.Parallel()
	made, group := topic(t, 4, nil), name("group")
	long := kgo.SessionTimeout(20 * time.Second)
	stays := join(t, group, made, kgo.InstanceID("stays"), long)
	leaves := join(t, group, made, kgo.InstanceID("leaves"), long)
	settle(t, 2, stays, leaves)
	had, before := leaves.has(), stays.rebalances()
	leaves.leave()
	returns := join(t, group, made, kgo.InstanceID("leaves"), long)
	settle(t, 2, stays, returns)
	equal(t, fmt.Sprint(had), fmt.Sprint(returns.has()))
	equal(t, before, stays.rebalances())
}

func TestCommittedOffsetsAreWhereTheNextMemberBegins(t *testing.T) {
	t.Parallel()
	made, group := topic(t, 1, nil), name("group")
	produce(t, client(t), numbered(made, 20, 1)...)
	options := []kgo.Opt{kgo.ConsumerGroup(group), kgo.ConsumeTopics(made), kgo.DisableAutoCommit()}
	first := client(t, options...)
	if err := first.CommitRecords(limited(t), take(t, first, 7)...); err != nil {
		t.Fatal(err)
	}
	first.Close()
	equal(t, "7", string(take(t, client(t, options...), 1)[0].Value))
}

func TestAPatternSeesATopicThatIsCreatedLater(t *testing.T) {
	t.Parallel()
	prefix, adm := name("pattern"), admin(t)
	consumer := client(t, kgo.ConsumerGroup(name("group")), kgo.ConsumeRegex(), kgo.ConsumeTopics("^"+prefix+"-.*"))
	for _, ending := range []string{"-one", "-two"} {
		if _, err := adm.CreateTopic(limited(t), 1, 1, nil, prefix+ending); err != nil {
			t.Fatal(err)
		}
		produce(t, client(t, kgo.UnknownTopicRetries(-1)), &kgo.Record{Topic: prefix + ending, Value: []byte("x")})
		equal(t, prefix+ending, take(t, consumer, 1)[0].Topic)
	}
}

func TestAGroupIsListedDescribedMovedAndDeleted(t *testing.T) {
	t.Parallel()
	made, group, adm := topic(t, 2, nil), name("group"), admin(t)
	_, err := adm.DeleteGroup(limited(t), group)
	fails(t, kerr.GroupIDNotFound, err)
	one := join(t, group, made)
	settle(t, 2, one)
	groups, err := adm.ListGroups(limited(t))
	if err != nil || !slices.Contains(groups.Groups(), group) {
		t.Fatalf("%s is not among the groups: %v", group, err)
	}
	described, err := adm.DescribeGroups(limited(t), group)
	if err != nil || described[group].State != "Stable" || len(described.AssignedPartitions()[made]) != 2 {
		t.Fatalf("%v, %v", described[group], err)
	}
	_, err = adm.DeleteGroup(limited(t), group)
	fails(t, kerr.NonEmptyGroup, err)
	var moved kadm.Offsets = make(kadm.Offsets)
	moved.AddOffset(made, 0, 5, -1)
	committed, err := adm.CommitOffsets(limited(t), group, moved)
	if err == nil {
		err = committed.Error()
	}
	fails(t, kerr.UnknownMemberID, err)
	one.leave()
	if err := adm.CommitAllOffsets(limited(t), group, moved); err != nil {
		t.Fatal(err)
	}
	offsets, err := adm.FetchOffsets(limited(t), group)
	if found, exists := offsets.Lookup(made, 0); err != nil || !exists || found.At != 5 {
		t.Fatalf("%v, %v", offsets, err)
	}
	if _, err = adm.DeleteGroup(limited(t), group); err != nil {
		t.Fatal(err)
	}
}
