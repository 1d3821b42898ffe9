package chaos;

import java.io.IOException;
import java.util.concurrent.CountDownLatch;

/** One client of a chaos run: {@code kafka|remoting create|produce|consume CLIENT ADDRESSES TOPIC PARTITIONS}. */
public final class Main {
    private static final int VALUE_BYTES = 200;

    /** What a client is told. */
    record Task(int client, String addresses, String topic, int partitions, Events events, CountDownLatch stop) {
        boolean running() {
            return stop.getCount() > 0;
        }

        /** Different for every record of the run. */
        String value(long number) {
            return client + "-" + number;
        }
    }

    private Main() {}

    public static void main(String[] arguments) throws Exception {
        int client = Integer.parseInt(arguments[2]);
        int partitions = Integer.parseInt(arguments[5]);
        Task task = new Task(client, arguments[3], arguments[4], partitions, new Events(client), stopAtEndOfInput());
        switch (arguments[0] + " " + arguments[1]) {
            case "kafka create" -> KafkaClient.create(task);
            case "kafka produce" -> KafkaClient.produce(task);
            case "kafka consume" -> KafkaClient.consume(task);
            case "remoting produce" -> RemotingClient.produce(task);
            case "remoting consume" -> RemotingClient.consume(task);
            default -> throw new IllegalArgumentException(arguments[0] + " " + arguments[1]);
        }
        // Clients leave threads behind.
        System.exit(0);
    }

    /** A value with dots behind it, so that records have a size worth losing. */
    static String padded(String value) {
        return value + ".".repeat(VALUE_BYTES - value.length());
    }

    /** The value that was padded; anything else stays as it is, and nobody sent it. */
    static String unpadded(String text) {
        int dot = text.indexOf('.');
        String value = dot < 0 ? text : text.substring(0, dot);
        return value.length() < VALUE_BYTES && padded(value).equals(text) ? value : text;
    }

    private static CountDownLatch stopAtEndOfInput() {
        CountDownLatch stop = new CountDownLatch(1);
        Thread watch = new Thread(() -> {
            try {
                while (System.in.read() >= 0) {}
            } catch (IOException error) {
                // The end as well.
            }
            stop.countDown();
        });
        watch.setDaemon(true);
        watch.start();
        return stop;
    }
}
