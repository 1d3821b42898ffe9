// A member of a group that prints, a line of JSON each, what it has and what it sees, until it is killed. kafkajs.test.js
// starts it with a topic and a group.
import kafkajs from 'kafkajs'

const [topic, groupId] = process.argv.slice(2)
const kafka = new kafkajs.Kafka({ brokers: process.env.BOOTSTRAP.split(','), logLevel: kafkajs.logLevel.NOTHING })
const consumer = kafka.consumer({ groupId, sessionTimeout: 6000, heartbeatInterval: 500, rebalanceTimeout: 6000, maxWaitTimeInMs: 100 })
const say = what => console.log(JSON.stringify(what))

consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => say({ has: Object.values(payload.memberAssignment).flat() }))
await consumer.connect()
await consumer.subscribe({ topics: [topic], fromBeginning: true })
await consumer.run({
  // What it has not said it has not committed.
  autoCommitThreshold: 1,
  eachMessage: async ({ partition, message }) => say({ partition, offset: message.offset }),
})
