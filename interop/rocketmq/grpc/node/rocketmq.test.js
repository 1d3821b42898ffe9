// Scenarios for RocketMQ's Node client of the gRPC protocol. A Kafka client looks at the topics, unless the server has no Kafka.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { connect } from 'node:net'
import { after, test } from 'node:test'
import kafkajs from 'kafkajs'
import rocketmq from 'rocketmq-client-nodejs'

const { ConsumeResult, FilterExpression, Producer, PushConsumer, SimpleConsumer } = rocketmq
const { GRPC, NAMESRV, BOOTSTRAP, CONTROL } = process.env
// This client resolves one address only ("Name resolution failed" for a list); routes name the other nodes.
const [endpoints] = GRPC.split(';')
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

// The first node of several.
const route = topic => ask(NAMESRV.split(';')[0], 105, { topic, acceptStandardJsonOnly: 'true' })

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

/** Starts a push consumer; gives the list in which it collects. */
async function push(topic) {
  const received = []
  const messageListener = {
    consume: async one => {
      received.push(one)
      return ConsumeResult.SUCCESS
    },
  }
  await started(new PushConsumer({
    endpoints, namespace: '', consumerGroup: await makeGroup(), subscriptions: new Map([[topic, FilterExpression.SUB_ALL]]), messageListener,
  }))
  return received
}

/** A Kafka consumer finds what was received at the same offset with the same value, and what was sent where the receipt says. */
async function crossRead(topic, received, receipts) {
  if (!BOOTSTRAP) return
  const kafka = new kafkajs.Kafka({ brokers: BOOTSTRAP.split(','), logLevel: kafkajs.logLevel.NOTHING })
  const admin = kafka.admin()
  await admin.connect()
  const ends = await admin.fetchTopicOffsets(topic)
  await admin.disconnect()
  const count = ends.reduce((sum, { offset }) => sum + Number(offset), 0)
  const consumer = kafka.consumer({ groupId: name('group') })
  await consumer.connect()
  const values = new Map()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({
    eachMessage: async ({ partition, message }) => {
      values.set(`${message.headers.UNIQ_KEY}@${message.offset} of ${partition}`, message.value.toString())
    },
  })
  await eventually('all records', () => values.size >= count)
  await consumer.disconnect()
  // The queue that a message came from is not told.
  const places = new Map([...values].map(([place, value]) => [place.split(' ')[0], value]))
  assert.ok(received.length > 0 && receipts.length > 0)
  for (const one of received) assert.equal(places.get(`${one.messageId}@${one.offset}`), one.body.toString())
  for (const one of receipts) assert.ok(places.has(`${one.messageId}@${one.offset}`), `${one.messageId}@${one.offset}`)
}

/** Restarts the server on the same data and ports: 'stop' lets it end in its own way, 'kill' is `kill -9`. */
function restartServer(how) {
  const [host, port] = CONTROL.split(':')
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), host, () => socket.write(`${how}\n`))
    socket.on('error', reject)
    socket.on('data', answer => `${answer}` === 'ok\n' ? resolve() : reject(new Error(`${answer}`)))
  })
}

test('a transaction is seen once it is committed, and asked about otherwise', async () => {
  const topic = await makeTopic(1)
  const asked = new Set()
  const [unknown, commit] = [0, 1]
  const checker = {
    check: async one => {
      asked.add(one.body.toString())
      return one.body.toString() === 'asked' ? commit : unknown
    },
  }
  const sender = await started(new Producer({ endpoints, namespace: '', topics: [topic], requestTimeout: 10_000, checker }))
  const prepare = async body => {
    const transaction = sender.beginTransaction()
    await sender.send({ topic, body: Buffer.from(body) }, transaction)
    return transaction
  }
  const lost = await prepare('lost')
  const kept = await prepare('kept')
  await lost.rollback()
  const consumer = await simple(topic)
  assert.equal((await consumer.receive(16, invisibleMs)).length, 0)
  await kept.commit()
  await prepare('asked')
  const plain = await sender.send({ topic, body: Buffer.from('plain') })
  const taken = await take(consumer, 3)
  assert.deepEqual(taken.map(one => one.body.toString()).sort(), ['asked', 'kept', 'plain'])
  assert.ok(asked.has('asked'))
  await crossRead(topic, taken, [plain])
})

test('sent messages are received once', async () => {
  const topic = await makeTopic()
  const sender = await producer(topic)
  const bodies = []
  const receipts = []
  for (let number = 10; number < 30; number++) {
    receipts.push(await sender.send({ topic, body: Buffer.from(`${number}`) }))
    bodies.push(`${number}`)
  }
  const taken = await take(await simple(topic), 20)
  assert.deepEqual(taken.map(one => one.body.toString()).sort(), bodies)
  assert.deepEqual(taken.map(one => one.messageId).sort(), receipts.map(one => one.messageId).sort())
  await crossRead(topic, taken, receipts)
})

test('everything a message carries arrives', async () => {
  const topic = await makeTopic()
  const properties = new Map([['colour', 'gr\u00fcn']])
  const receipt = await (await producer(topic)).send({ topic, tag: 'tag', keys: ['one', 'two'], body: Buffer.from('\u6f22 body'), properties })
  const [one] = await take(await simple(topic), 1)
  assert.equal(one.body.toString(), '\u6f22 body')
  assert.equal(one.tag, 'tag')
  assert.deepEqual([...one.keys].sort(), ['one', 'two'])
  assert.equal(one.properties.get('colour'), 'gr\u00fcn')
  await crossRead(topic, [one], [receipt])
})

test('tags filter', async () => {
  const topic = await makeTopic()
  const sender = await producer(topic)
  const receipts = []
  for (const tag of ['red', 'green', 'blue', 'red', 'green', 'blue']) {
    receipts.push(await sender.send({ topic, tag, body: Buffer.from(tag) }))
  }
  const taken = await take(await simple(topic, 'red || blue'), 4)
  assert.deepEqual(taken.map(one => one.tag).sort(), ['blue', 'blue', 'red', 'red'])
  await crossRead(topic, taken, receipts)
})

test('what is not acknowledged comes again', async () => {
  const topic = await makeTopic(1)
  const receipt = await (await producer(topic)).send({ topic, body: Buffer.from('again') })
  const consumer = await simple(topic)
  const attempts = []
  const received = []
  await eventually('it comes twice', async () => {
    for (const one of await consumer.receive(16, invisibleMs)) {
      attempts.push(one.deliveryAttempt)
      received.push(one)
      if (attempts.length === 2) await consumer.ack(one)
    }
    return attempts.length >= 2
  })
  assert.deepEqual(attempts, [1, 2])
  await crossRead(topic, received, [receipt])
})

test('a push consumer receives', async () => {
  const topic = await makeTopic()
  const received = await push(topic)
  const sender = await producer(topic)
  const receipts = []
  for (let number = 0; number < 20; number++) receipts.push(await sender.send({ topic, body: Buffer.from(`${number}`) }))
  await eventually('all messages', () => new Set(received.map(one => one.body.toString())).size === 20)
  await crossRead(topic, received, receipts)
})

for (const how of CONTROL ? ['stop', 'kill'] : []) {
  test(`clients go on when the server is restarted: ${how}`, async () => {
    const topic = await makeTopic()
    const received = await push(topic)
    const sender = await producer(topic)
    const receipts = []
    const send = async () => receipts.push(await sender.send({ topic, body: Buffer.from(`${receipts.length}`) }))
    for (let number = 0; number < 100; number++) await send()
    await restartServer(how)
    await eventually('sending works again', async () => {
      try {
        await send()
      } catch {
        // The next attempt tells whether the server is back.
      }
      return receipts.length >= 150
    })
    const ids = () => new Set(received.map(one => one.messageId))
    await eventually('everything arrives', () => receipts.every(({ messageId }) => ids().has(messageId)))
    await crossRead(topic, received, receipts)
  })
}
