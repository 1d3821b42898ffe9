package interop

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestEachCodecIsReadAsItWasWritten(t *testing.T) {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	for name, codec := range codecs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			made := topic(t, 1, nil)
			producer := client(t, kgo.ProducerBatchCompression(codec), kgo.ProducerLinger(20*time.Millisecond))
			sent := make([]*kgo.Record, 500)
			for at := range sent {
				sent[at] = &kgo.Record{Topic: made, Value: []byte(fmt.Sprint(at, strings.Repeat(" word", at%40)))}
			}
			produce(t, producer, sent...)
			for at, record := range read(t, made, 0, 500) {
				equal(t, string(sent[at].Value), string(record.Value))
			}
		})
	}
}

func TestEverythingArrivesWithAnyAcks(t *testing.T) {
	for name, acks := range map[string]kgo.Acks{"0": kgo.NoAck(), "1": kgo.LeaderAck(), "all": kgo.AllISRAcks()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			made := topic(t, 1, nil)
			options := []kgo.Opt{kgo.RequiredAcks(acks), kgo.RecordPartitioner(kgo.ManualPartitioner())}
			if name != "all" {
				options = append(options, kgo.DisableIdempotentWrite())
			}
			produce(t, client(t, options...), numbered(made, 200, 1)...)
			for at, record := range read(t, made, 0, 200) {
				equal(t, fmt.Sprint(at), string(record.Value))
			}
		})
	}
}

func TestKeysHeadersAndNullsSurvive(t *testing.T) {
	t.Parallel()
	made := topic(t, 1, nil)
	headers := []kgo.RecordHeader{{Key: "trace", Value: []byte("1")}, {Key: "trace", Value: []byte("2")}, {Key: "none"}}
	sent := []*kgo.Record{
		{Topic: made, Key: []byte("key"), Value: []byte{0, 255}, Headers: headers},
		{Topic: made, Value: []byte("no key")},
		{Topic: made, Key: []byte("tombstone")},
		{Topic: made, Key: []byte{}, Value: []byte{}},
	}
	produce(t, client(t), sent...)
	got := read(t, made, 0, 4)
	for at, record := range got {
		equal(t, string(sent[at].Key), string(record.Key))
		equal(t, string(sent[at].Value), string(record.Value))
		equal(t, sent[at].Key == nil, record.Key == nil)
		equal(t, sent[at].Value == nil, record.Value == nil)
	}
	equal(t, 3, len(got[0].Headers))
	equal(t, "2", string(got[0].Headers[1].Value))
	equal(t, true, got[0].Headers[2].Value == nil)
}

func TestAnIdempotentProducerKeepsOrderWithManyRequestsInFlight(t *testing.T) {
	t.Parallel()
	made := topic(t, 4, nil)
	producer := client(t, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(1000), kgo.ProducerLinger(0))
	for _, record := range numbered(made, 4000, 4) {
		producer.Produce(limited(t), record, nil)
	}
	if err := producer.Flush(limited(t)); err != nil {
		t.Fatal(err)
	}
	for partition := range int32(4) {
		for at, record := range read(t, made, partition, 1000) {
			equal(t, int64(at), record.Offset)
			equal(t, fmt.Sprint(at*4+int(partition)), string(record.Value))
		}
	}
}

func TestARecordThatIsTooLargeIsRefused(t *testing.T) {
	t.Parallel()
	made := topic(t, 1, map[string]string{"max.message.bytes": "10000"})
	producer := client(t, kgo.ProducerBatchCompression(kgo.NoCompression()))
	huge := &kgo.Record{Topic: made, Value: make([]byte, 2_000_000)}
	fails(t, kerr.MessageTooLarge, producer.ProduceSync(limited(t), huge).FirstErr())
	large := &kgo.Record{Topic: made, Value: make([]byte, 20_000)}
	fails(t, kerr.MessageTooLarge, producer.ProduceSync(limited(t), large).FirstErr())
	produce(t, client(t), &kgo.Record{Topic: made, Value: []byte("fits")})
	equal(t, "fits", string(read(t, made, 0, 1)[0].Value))
}

func TestALargeRecordPassesWhereTheTopicAllowsIt(t *testing.T) {
	t.Parallel()
	made := topic(t, 1, map[string]string{"max.message.bytes": "4000000"})
	value := bytes.Repeat([]byte("0123456789abcdef"), 200_000)
	produce(t, client(t, kgo.ProducerBatchMaxBytes(4_000_000)), &kgo.Record{Topic: made, Value: value})
	equal(t, true, bytes.Equal(value, read(t, made, 0, 1)[0].Value))
}

func TestTimestampsAreTheProducersOrTheLogs(t *testing.T) {
	t.Parallel()
	own := time.Now().Add(-time.Minute).Truncate(time.Millisecond)
	created, appended := topic(t, 1, nil), topic(t, 1, map[string]string{"message.timestamp.type": "LogAppendTime"})
	produce(t, client(t), &kgo.Record{Topic: created, Timestamp: own}, &kgo.Record{Topic: appended, Timestamp: own})
	record := read(t, created, 0, 1)[0]
	equal(t, true, record.Timestamp.Equal(own))
	equal(t, int8(0), record.Attrs.TimestampType())
	record = read(t, appended, 0, 1)[0]
	equal(t, true, record.Timestamp.After(own.Add(50*time.Second)))
	equal(t, int8(1), record.Attrs.TimestampType())
}

func TestATopicIsCreatedByItsFirstUse(t *testing.T) {
	t.Parallel()
	made := name("go-automatic")
	produce(t, client(t, kgo.AllowAutoTopicCreation()), &kgo.Record{Topic: made, Value: []byte("first")})
	equal(t, "first", string(read(t, made, 0, 1)[0].Value))
}

func TestAnUnknownTopicIsAnError(t *testing.T) {
	t.Parallel()
	producer := client(t, kgo.UnknownTopicRetries(1))
	record := &kgo.Record{Topic: name("nobody"), Value: []byte("x")}
	fails(t, kerr.UnknownTopicOrPartition, producer.ProduceSync(limited(t), record).FirstErr())
}

func TestAConsumerBeginsWhereItIsTold(t *testing.T) {
	t.Parallel()
	made := topic(t, 1, nil)
	start := time.Now().Add(-time.Minute).Truncate(time.Millisecond)
	records := numbered(made, 10, 1)
	for at, record := range records {
		record.Timestamp = start.Add(time.Duration(at) * time.Second)
	}
	produce(t, client(t), records...)
	for expected, offset := range map[int64]kgo.Offset{
		4: kgo.NewOffset().At(4),
		0: kgo.NewOffset().AtStart(),
		7: kgo.NewOffset().AtEnd().Relative(-3),
		3: kgo.NewOffset().AfterMilli(start.UnixMilli() + 2500),
	} {
		equal(t, expected, take(t, at(t, made, 0, offset), 1)[0].Offset)
	}
}

func TestAPositionCanBeSought(t *testing.T) {
	t.Parallel()
	made := topic(t, 1, nil)
	produce(t, client(t), numbered(made, 100, 1)...)
	consumer := at(t, made, 0, kgo.NewOffset().AtStart())
	for _, offset := range []int64{42, 7} {
		equal(t, true, len(take(t, consumer, 1)) == 1)
		consumer.SetOffsets(map[string]map[int32]kgo.EpochOffset{made: {0: {Epoch: -1, Offset: offset}}})
		equal(t, offset, take(t, consumer, 1)[0].Offset)
	}
}

func TestAnOffsetOutOfRangeIsAnErrorOrAReset(t *testing.T) {
	t.Parallel()
	made := topic(t, 1, nil)
	produce(t, client(t), numbered(made, 5, 1)...)
	strict := at(t, made, 0, kgo.NewOffset().At(1000), kgo.ConsumeResetOffset(kgo.NoResetOffset()))
	fails(t, kerr.OffsetOutOfRange, strict.PollFetches(limited(t)).Err())
	lenient := at(t, made, 0, kgo.NewOffset().At(1000))
	equal(t, int64(0), take(t, lenient, 1)[0].Offset)
}

func TestAPausedPartitionIsSilentUntilItIsResumed(t *testing.T) {
	t.Parallel()
	made := topic(t, 2, nil)
	produce(t, client(t, kgo.RecordPartitioner(kgo.ManualPartitioner())), numbered(made, 20, 2)...)
	start := kgo.NewOffset().AtStart()
	consumer := client(t)
	consumer.PauseFetchPartitions(map[string][]int32{made: {0}})
	consumer.AddConsumePartitions(map[string]map[int32]kgo.Offset{made: {0: start, 1: start}})
	for _, record := range take(t, consumer, 10) {
		equal(t, int32(1), record.Partition)
	}
	consumer.ResumeFetchPartitions(map[string][]int32{made: {0}})
	for _, record := range take(t, consumer, 10) {
		equal(t, int32(0), record.Partition)
	}
}

func TestManyPartitionsAreReadByOneConsumer(t *testing.T) {
	t.Parallel()
	made := topic(t, 100, nil)
	produce(t, client(t, kgo.RecordPartitioner(kgo.ManualPartitioner())), numbered(made, 1000, 100)...)
	next := make([]int64, 100)
	for _, record := range take(t, client(t, kgo.ConsumeTopics(made)), 1000) {
		equal(t, next[record.Partition], record.Offset)
		equal(t, fmt.Sprint(record.Offset*100+int64(record.Partition)), string(record.Value))
		next[record.Partition]++
	}
}
