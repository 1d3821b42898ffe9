// Scenarios for kafkajs, whose requests are of older versions, against the server at BOOTSTRAP.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { createInterface } from 'node:readline'
import { after, before, test } from 'node:test'
import * as zstd from '@bokuweb/zstd-wasm'
import kafkajs from 'kafkajs'
import snappy from 'kafkajs-snappy'
import lz4 from 'lz4-napi'

const { AssignerProtocol, CompressionCodecs, CompressionTypes, ConfigResourceTypes, Kafka, logLevel } = kafkajs
// Longer than a session timeout.
const deadlineMs = 30_000

CompressionCodecs[CompressionTypes.Snappy] = snappy
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: encoder => lz4.compressFrame(encoder.buffer),
  decompress: buffer => lz4.decompressFrame(buffer),
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => Buffer.from(zstd.compress(encoder.buffer)),
  decompress: async buffer => Buffer.from(zstd.decompress(buffer)),
})

const kafka = new Kafka({ brokers: process.env.BOOTSTRAP.split(','), logLevel: logLevel.NOTHING, retry: { initialRetryTime: 100, retries: 8 } })
const admin = kafka.admin()
const opened = []

before(async () => {
  await zstd.init()
  await admin.connect()
})

after(async () => {
  await Promise.all(opened.map(client => client.disconnect()))
  await admin.disconnect()
})

const name = kind => `${kind}-${randomUUID()}`

async function eventually(what, attempt) {
  const end = Date.now() + deadlineMs
  for (;;) {
    const found = await attempt()
    if (found) return found
    assert.ok(Date.now() < end, `not within ${deadlineMs} ms: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}

async function makeTopic(numPartitions = 1, configs = {}) {
  const topic = name('node')
  const configEntries = Object.entries(configs).map(([key, value]) => ({ name: key, value }))
  await admin.createTopics({ topics: [{ topic, numPartitions, replicationFactor: 1, configEntries }], waitForLeaders: true })
  await eventually('the topic is online', () => admin.fetchTopicOffsets(topic).then(found => found.length === numPartitions, () => false))
  return topic
}

async function connected(client) {
  opened.push(client)
  await client.connect()
  return client
}

async function produce(topic, messages, { compression, acks, ...options } = {}) {
  const producer = await connected(kafka.producer({ allowAutoTopicCreation: true, ...options }))
  return producer.send({ topic, messages, compression, acks })
}

// A member of a group that collects what it sees and remembers what it has. The topic may be a pattern, which this client
// compares with the topics there are when it subscribes.
async function join(topic, groupId, options = {}) {
  const { fromBeginning = true, autoCommit = true, ...rest } = options
  const consumer = await connected(
    kafka.consumer({ groupId, sessionTimeout: 6000, heartbeatInterval: 500, rebalanceTimeout: 6000, metadataMaxAge: 1000, maxWaitTimeInMs: 100, ...rest }),
  )
  const member = { consumer, seen: [], has: [], joins: 0, crashes: [] }
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    member.joins += 1
    member.has = Object.values(payload.memberAssignment).flat()
  })
  consumer.on(consumer.events.CRASH, ({ payload }) => member.crashes.push(payload.error))
  member.begin = async () => {
    await consumer.subscribe({ topics: [topic], fromBeginning })
    await consumer.run({
      autoCommit,
      eachMessage: async ({ topic, partition, message }) => void member.seen.push({ topic, partition, ...message }),
    })
  }
  await member.begin()
  return member
}

// A member in a process of its own, which can be killed.
function spawnMember(topic, groupId) {
  const child = spawn(process.execPath, ['member.js', topic, groupId], { stdio: ['ignore', 'pipe', 'inherit'] })
  const member = { child, seen: [], has: [] }
  createInterface({ input: child.stdout }).on('line', line => {
    const { has, ...message } = JSON.parse(line)
    if (has) member.has = has
    else member.seen.push(message)
  })
  return member
}

async function settle(each, ...members) {
  await eventually(`${each} partitions for each of ${members.length} members`, () => {
    const all = new Set(members.flatMap(member => member.has))
    return members.every(member => member.has.length === each) && all.size === each * members.length
  })
}

async function read(topic, count, options) {
  const member = await join(topic, name('group'), options)
  await eventually(`${count} messages`, () => member.seen.length >= count)
  await member.consumer.disconnect()
  return member.seen
}

const places = (...members) => members.flatMap(({ seen }) => seen.map(({ partition, offset }) => `${partition}@${offset}`))
const texts = messages => messages.map(message => message.value && message.value.toString())
const numbered = count => Array.from({ length: count }, (_, at) => ({ value: String(at) }))
const ofType = type => error => {
  const found = [error, error.cause, ...(error.errors ?? [])].map(one => one?.type)
  assert.ok(found.includes(type), `${type} expected, got ${found}: ${error.message}`)
  return true
}

// All at once: most of the time they wait for the server.
const scenario = (title, body) => test(title, { timeout: 90_000 }, body)

for (const [codec, compression] of Object.entries(CompressionTypes)) {
  scenario(`${codec} is read as it was written`, async () => {
    const topic = await makeTopic()
    const sent = Array.from({ length: 300 }, (_, at) => ({ value: at + ' word'.repeat(at % 40) }))
    await produce(topic, sent, { compression })
    assert.deepEqual(texts(await read(topic, 300)), sent.map(message => message.value))
  })
}

for (const acks of [0, 1, -1]) {
  scenario(`with acks=${acks} everything arrives`, async () => {
    const topic = await makeTopic()
    await produce(topic, numbered(100), { acks })
    assert.deepEqual(texts(await read(topic, 100)), texts(numbered(100)))
  })
}

scenario('keys, headers and nulls survive', async () => {
  const topic = await makeTopic()
  await produce(topic, [
    { key: 'k\u00e9y', value: 'v\u6f22', headers: { trace: ['1', '2'], empty: '' } },
    { value: 'no key' },
    { key: 'tombstone', value: null },
    { key: '', value: '' },
  ])
  const seen = await read(topic, 4)
  assert.deepEqual(texts(seen), ['v\u6f22', 'no key', null, ''])
  assert.deepEqual(seen.map(message => message.key && message.key.toString()), ['k\u00e9y', null, 'tombstone', ''])
  assert.deepEqual(seen[0].headers.trace.map(String), ['1', '2'])
  assert.equal(String(seen[0].headers.empty), '')
})

scenario('an idempotent producer writes each message once and in order', async () => {
  const topic = await makeTopic()
  const producer = await connected(kafka.producer({ idempotent: true, maxInFlightRequests: 1 }))
  for (let batch = 0; batch < 20; batch += 1) {
    const messages = numbered(50).map(({ value }) => ({ value: String(batch * 50 + Number(value)) }))
    await producer.send({ topic, messages })
  }
  const seen = await read(topic, 1000)
  assert.deepEqual(texts(seen), texts(numbered(1000)))
  assert.equal(seen[999].offset, '999')
})

scenario('a message above the topic\'s limit is refused', async () => {
  const topic = await makeTopic(1, { 'max.message.bytes': '10000' })
  await assert.rejects(produce(topic, [{ value: 'x'.repeat(20_000) }]), ofType('MESSAGE_TOO_LARGE'))
  await produce(topic, [{ value: 'fits' }])
  assert.deepEqual(texts(await read(topic, 1)), ['fits'])
})

scenario('a large message passes where the topic allows it', async () => {
  const topic = await makeTopic(1, { 'max.message.bytes': '4000000' })
  const value = randomBytes(3_000_000)
  await produce(topic, [{ value }])
  assert.ok(value.equals((await read(topic, 1))[0].value))
})

scenario('timestamps are the producer\'s or the log\'s', async () => {
  const own = Date.now() - 60_000
  const [created, appended] = [await makeTopic(), await makeTopic(1, { 'message.timestamp.type': 'LogAppendTime' })]
  for (const topic of [created, appended]) await produce(topic, [{ value: 'x', timestamp: String(own) }])
  assert.equal((await read(created, 1))[0].timestamp, String(own))
  assert.ok(Number((await read(appended, 1))[0].timestamp) > own + 50_000)
})

scenario('a topic is created by its first use', async () => {
  const topic = name('node-automatic')
  await produce(topic, [{ value: 'first' }])
  assert.deepEqual(texts(await read(topic, 1)), ['first'])
})

scenario('a consumer seeks, pauses and resumes', async () => {
  const topic = await makeTopic()
  await produce(topic, numbered(20))
  const member = await join(topic, name('group'))
  await eventually('20 messages', () => member.seen.length === 20)
  member.consumer.seek({ topic, partition: 0, offset: '15' })
  await eventually('five again', () => member.seen.length === 25)
  assert.equal(member.seen[20].offset, '15')
  member.consumer.pause([{ topic }])
  await produce(topic, [{ value: 'while paused' }])
  await eventually('the end moves', async () => (await admin.fetchTopicOffsets(topic))[0].offset === '21')
  assert.equal(member.seen.length, 25)
  member.consumer.resume([{ topic }])
  await eventually('what came while it was paused', () => member.seen.length === 26)
})

scenario('an offset out of range is a reset', async () => {
  const topic = await makeTopic()
  await produce(topic, numbered(5))
  const member = await join(topic, name('group'))
  await eventually('five messages', () => member.seen.length === 5)
  member.consumer.seek({ topic, partition: 0, offset: '1000' })
  await eventually('five again', () => member.seen.length === 10)
  assert.equal(member.seen[5].offset, '0')
})

// kafkajs brings one assigner; a second one of our own, with another name, deals out the other way round.
const reversed = ({ cluster }) => ({
  name: 'ReversedAssigner',
  version: 1,
  async assign({ members, topics }) {
    const ids = members.map(member => member.memberId).sort().reverse()
    const assignment = Object.fromEntries(ids.map(id => [id, {}]))
    for (const topic of topics) {
      cluster.findTopicPartitionMetadata(topic).forEach(({ partitionId }) => {
        const own = assignment[ids[partitionId % ids.length]]
        own[topic] = [...(own[topic] ?? []), partitionId]
      })
    }
    return ids.map(id => ({ memberId: id, memberAssignment: AssignerProtocol.MemberAssignment.encode({ version: 1, assignment: assignment[id] }) }))
  },
  protocol({ topics }) {
    return { name: 'ReversedAssigner', metadata: AssignerProtocol.MemberMetadata.encode({ version: 1, topics }) }
  },
})

for (const [kind, options] of Object.entries({ 'the round-robin assigner': {}, 'an assigner of its own': { partitionAssigners: [reversed] } })) {
  scenario(`with ${kind} members share the partitions and hand them over`, async () => {
    const [topic, groupId] = [await makeTopic(6), name('group')]
    const members = []
    for (let number = 0; number < 3; number += 1) members.push(await join(topic, groupId, options))
    await settle(2, ...members)
    await members[0].consumer.disconnect()
    await settle(3, members[1], members[2])
    await produce(topic, Array.from({ length: 60 }, (_, at) => ({ value: String(at), partition: at % 6 })))
    await eventually('every message', () => members[1].seen.length + members[2].seen.length >= 60)
    const delivered = places(members[1], members[2])
    assert.equal(new Set(delivered).size, 60)
    assert.equal(delivered.length, 60)
  })
}

scenario('a member that dies loses its partitions, and nothing that was acknowledged is lost', async () => {
  const [topic, groupId] = [await makeTopic(4), name('group')]
  const messages = numbered(40).map((message, at) => ({ ...message, partition: at % 4 }))
  const stays = await join(topic, groupId)
  const dies = spawnMember(topic, groupId)
  try {
    await settle(2, stays, dies)
    await produce(topic, messages)
    await eventually('the member works', () => dies.seen.length > 0)
  } finally {
    dies.child.kill('SIGKILL')
  }
  await produce(topic, messages)
  await settle(4, stays)
  await eventually('every message at one of the two', () => new Set(places(stays, dies)).size === 80)
})

scenario('committed offsets are where the next member begins', async () => {
  const [topic, groupId] = [await makeTopic(), name('group')]
  await produce(topic, numbered(20))
  const first = await join(topic, groupId, { autoCommit: false })
  await eventually('20 messages', () => first.seen.length === 20)
  await first.consumer.commitOffsets([{ topic, partition: 0, offset: '7' }])
  await first.consumer.disconnect()
  const second = await join(topic, groupId)
  await eventually('the rest', () => second.seen.length === 13)
  assert.equal(second.seen[0].offset, '7')
})

scenario('a pattern sees a topic that is created later, when it is subscribed to again', async () => {
  const [prefix, groupId] = [name('pattern'), name('group')]
  const create = topic => admin.createTopics({ topics: [{ topic, numPartitions: 1 }], waitForLeaders: true })
  await create(`${prefix}-one`)
  await produce(`${prefix}-one`, [{ value: 'one' }])
  const member = await join(new RegExp(`^${prefix}-.*`), groupId)
  await eventually('the message of the first topic', () => texts(member.seen).includes('one'))
  await create(`${prefix}-two`)
  await produce(`${prefix}-two`, [{ value: 'two' }])
  await member.consumer.stop()
  await member.begin()
  await eventually('the message of the second topic', () => texts(member.seen).includes('two'))
  assert.deepEqual(texts(member.seen), ['one', 'two'])
})

scenario('topics are created, described, grown and deleted', async () => {
  const topic = await makeTopic(2)
  const partitions = async () => (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions
  assert.equal((await partitions()).length, 2)
  await admin.createPartitions({ topicPartitions: [{ topic, count: 5 }] })
  await eventually('five partitions', async () => (await partitions()).length === 5)
  assert.equal(await admin.createTopics({ topics: [{ topic, numPartitions: 1 }] }), false)
  await admin.deleteTopics({ topics: [topic] })
  await eventually('the topic is gone', async () => !(await admin.listTopics()).includes(topic))
  await assert.rejects(admin.deleteTopics({ topics: [topic] }), ofType('UNKNOWN_TOPIC_OR_PARTITION'))
})

scenario('a topic that cannot be is refused', async () => {
  const create = (topic, options) => admin.createTopics({ topics: [{ topic, ...options }] })
  await assert.rejects(create('not a name!', {}), ofType('INVALID_TOPIC_EXCEPTION'))
  await assert.rejects(create(name('node'), { replicationFactor: 4 }), ofType('INVALID_REPLICATION_FACTOR'))
  await assert.rejects(create(name('node'), { configEntries: [{ name: 'retention.ms', value: 'soon' }] }), ofType('INVALID_CONFIG'))
})

scenario('a config is changed and seen, by the request that replaces them all', async () => {
  const topic = await makeTopic(1, { 'segment.ms': '999999' })
  const resource = { type: ConfigResourceTypes.TOPIC, name: topic }
  const value = async key => {
    const { resources } = await admin.describeConfigs({ resources: [resource], includeSynonyms: false })
    return resources[0].configEntries.find(entry => entry.configName === key).configValue
  }
  await admin.alterConfigs({ validateOnly: false, resources: [{ ...resource, configEntries: [{ name: 'retention.ms', value: '1234567' }] }] })
  assert.equal(await value('retention.ms'), '1234567')
  assert.equal(await value('segment.ms'), '604800000')
})

scenario('offsets are found by time and records deleted', async () => {
  const topic = await makeTopic()
  const start = Date.now() - 60_000
  await produce(topic, numbered(10).map((message, at) => ({ ...message, timestamp: String(start + at * 1000) })))
  assert.equal((await admin.fetchTopicOffsetsByTimestamp(topic, start + 3500))[0].offset, '4')
  assert.deepEqual(await admin.fetchTopicOffsets(topic), [{ partition: 0, offset: '10', high: '10', low: '0' }])
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '6' }] })
  assert.equal((await admin.fetchTopicOffsets(topic))[0].low, '6')
  assert.equal((await read(topic, 4))[0].offset, '6')
})

scenario('a group is listed, described, moved and deleted', async () => {
  const [topic, groupId] = [await makeTopic(2), name('group')]
  const member = await join(topic, groupId)
  await settle(2, member)
  assert.ok((await admin.listGroups()).groups.some(group => group.groupId === groupId))
  const [described] = (await admin.describeGroups([groupId])).groups
  assert.equal(described.state, 'Stable')
  assert.equal(described.members.length, 1)
  await assert.rejects(admin.deleteGroups([groupId]), error => ofType('NON_EMPTY_GROUP')(error.groups[0].error))
  await member.consumer.disconnect()
  await admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: '5' }] })
  const [offsets] = await admin.fetchOffsets({ groupId, topics: [topic] })
  assert.deepEqual(offsets.partitions.map(({ offset }) => offset).sort(), ['-1', '5'])
  await admin.deleteGroups([groupId])
  assert.ok(!(await admin.listGroups()).groups.some(group => group.groupId === groupId))
})

scenario('the cluster is described', async () => {
  const cluster = await admin.describeCluster()
  assert.ok(cluster.clusterId)
  assert.deepEqual(cluster.brokers.map(broker => `${broker.host}:${broker.port}`).sort(), process.env.BOOTSTRAP.split(',').sort())
  assert.ok(cluster.brokers.some(broker => broker.nodeId === cluster.controller))
})
