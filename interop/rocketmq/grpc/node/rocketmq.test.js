// Scenarios for RocketMQ's Node client of the gRPC protocol. A Kafka client looks at the values, unless the server has no Kafka.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { connect } from 'node:net'
import { after, test } from 'node:test'
import kafkajs from 'kafkajs'
import rocketmq from 'rocketmq-client-nodejs'

const { ConsumeResult, FilterExpression, Producer, PushConsumer, SimpleConsumer } = rocketmq
const { GRPC: endpoints, NAMESRV, BOOTSTRAP } = process.env
// Longer than two invisible times.
const deadlineMs = 60_000
// The shortest that Apache's proxy allows.
const invisibleMs = 10_000
const opened = []

after(async () => {
  for (const client of opened.reverse()) await client.shutdown()
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

/** One request in the remoting protocol, because gRPC clients cannot create topics and groups. */
function ask(address, code, extFields, body = Buffer.alloc(0)) {
  const header = Buffer.from(JSON.stringify({ code, language: 'OTHER', version: 513, opaque: 1, flag: 0, extFields }))
  const frame = Buffer.alloc(8)
  frame.writeUInt32BE(4 + header.length + body.length, 0)
  frame.writeUInt32BE(header.length, 4)
  const [host, port] = address.split(':')
  return new Promise((resolve, reject) => {
    let bytes = Buffer.alloc(0)
    const socket = connect(Number(port), host, () => socket.write(Buffer.concat([frame, header, body])))
    socket.on('error', reject)
    socket.on('data', some => {
      bytes = Buffer.concat([bytes, some])
      if (bytes.length < 8 || bytes.length < 4 + bytes.readUInt32BE(0)) return
      const headerEnd = 8 + bytes.readUInt32BE(4)
      socket.end()
      resolve({ code: JSON.parse(bytes.subarray(8, headerEnd)).code, body: bytes.subarray(headerEnd) })
    })
  })
}

const route = topic => ask(NAMESRV, 105, { topic, acceptStandardJsonOnly: 'true' })

async function broker() {
  const [data] = JSON.parse((await route('TBW102')).body).brokerDatas
  return data.brokerAddrs['0']
}

async function makeGroup() {
  const groupName = name('group')
  assert.equal((await ask(await broker(), 200, {}, Buffer.from(JSON.stringify({ groupName })))).code, 0)
  return groupName
}

async function makeTopic(queues = 2) {
  const topic = name('node')
  const numbers = { readQueueNums: `${queues}`, writeQueueNums: `${queues}`, perm: '6', topicSysFlag: '0' }
  const fields = { topic, defaultTopic: 'TBW102', topicFilterType: 'SINGLE_TAG', order: 'false', ...numbers }
  assert.equal((await ask(await broker(), 17, fields)).code, 0)
  await eventually('the topic has a route', async () => (await route(topic)).code === 0)
  return topic
}

async function started(client) {
  await client.startup()
  opened.push(client)
  return client
}

const producer = topic => started(new Producer({ endpoints, namespace: '', topics: [topic], requestTimeout: 10_000 }))

const simple = async (topic, filter = FilterExpression.SUB_ALL) => started(new SimpleConsumer({
  endpoints, namespace: '', consumerGroup: await makeGroup(), subscriptions: new Map([[topic, filter]]), awaitDuration: 2000, requestTimeout: 10_000,
}))

/** Receives and acknowledges so many, and no more. */
async function take(consumer, count) {
  const taken = []
  await eventually(`${count} messages`, async () => {
    for (const one of await consumer.receive(16, invisibleMs)) {
      await consumer.ack(one)
      taken.push(one)
    }
    return taken.length >= count
  })
  assert.equal(taken.length, count)
  return taken
}

/** What a Kafka consumer reads of a topic, sorted. */
async function values(topic, count) {
  const kafka = new kafkajs.Kafka({ brokers: [BOOTSTRAP], logLevel: kafkajs.logLevel.NOTHING })
  const consumer = kafka.consumer({ groupId: name('group') })
  await consumer.connect()
  const read = []
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({ eachMessage: async ({ message }) => { read.push(message.value.toString()) } })
  await eventually('all records', () => read.length >= count)
  await consumer.disconnect()
  return read.sort()
}

test('sent messages are received once', async () => {
  const topic = await makeTopic()
  const sender = await producer(topic)
  const bodies = []
  const ids = []
  for (let number = 10; number < 30; number++) {
    ids.push((await sender.send({ topic, body: Buffer.from(`${number}`) })).messageId)
    bodies.push(`${number}`)
  }
  const taken = await take(await simple(topic), 20)
  assert.deepEqual(taken.map(one => one.body.toString()).sort(), bodies)
  assert.deepEqual(taken.map(one => one.messageId).sort(), ids.sort())
  if (BOOTSTRAP) assert.deepEqual(await values(topic, 20), bodies)
})

test('everything a message carries arrives', async () => {
  const topic = await makeTopic()
  const properties = new Map([['colour', 'gr\u00fcn']])
  await (await producer(topic)).send({ topic, tag: 'tag', keys: ['one', 'two'], body: Buffer.from('\u6f22 body'), properties })
  const [one] = await take(await simple(topic), 1)
  assert.equal(one.body.toString(), '\u6f22 body')
  assert.equal(one.tag, 'tag')
  assert.deepEqual([...one.keys].sort(), ['one', 'two'])
  assert.equal(one.properties.get('colour'), 'gr\u00fcn')
})

test('tags filter', async () => {
  const topic = await makeTopic()
  const sender = await producer(topic)
  for (const tag of ['red', 'green', 'blue', 'red', 'green', 'blue']) await sender.send({ topic, tag, body: Buffer.from(tag) })
  const taken = await take(await simple(topic, 'red || blue'), 4)
  assert.deepEqual(taken.map(one => one.tag).sort(), ['blue', 'blue', 'red', 'red'])
})

test('what is not acknowledged comes again', async () => {
  const topic = await makeTopic(1)
  await (await producer(topic)).send({ topic, body: Buffer.from('again') })
  const consumer = await simple(topic)
  const attempts = []
  await eventually('it comes twice', async () => {
    for (const one of await consumer.receive(16, invisibleMs)) {
      attempts.push(one.deliveryAttempt)
      if (attempts.length === 2) await consumer.ack(one)
    }
    return attempts.length >= 2
  })
  assert.deepEqual(attempts, [1, 2])
})

test('a push consumer receives', async () => {
  const topic = await makeTopic()
  const bodies = new Set()
  const messageListener = {
    consume: async one => {
      bodies.add(one.body.toString())
      return ConsumeResult.SUCCESS
    },
  }
  await started(new PushConsumer({
    endpoints, namespace: '', consumerGroup: await makeGroup(), subscriptions: new Map([[topic, FilterExpression.SUB_ALL]]), messageListener,
  }))
  const sender = await producer(topic)
  for (let number = 0; number < 20; number++) await sender.send({ topic, body: Buffer.from(`${number}`) })
  await eventually('all messages', () => bodies.size === 20)
})
