package chaos;

import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;

/**
 * Says what this client does and sees, a line of JSON an event. All clients of a run write to one pipe; a line shorter than the
 * pipe's atomic size, written at once, keeps the order in which things happened.
 */
final class Events {
    /** PIPE_BUF of Linux is 4096. */
    private static final int LONGEST_LINE = 4000;

    private final FileOutputStream out = new FileOutputStream(FileDescriptor.out);
    private final int client;

    Events(int client) {
        this.client = client;
    }

    /** Before the record is handed over. A negative sequence says that the client promises neither order nor a single append. */
    void sent(int partition, String value, long sequence) {
        write("sent", partition, ",\"value\":\"" + value + "\"" + (sequence < 0 ? "" : ",\"sequence\":" + sequence));
    }

    void acked(int partition, String value, long offset) {
        write("acked", partition, ",\"value\":\"" + value + "\",\"offset\":" + offset);
    }

    /** It may be in the log or not. */
    void unknown(int partition, String value, Throwable why) {
        write("unknown", partition, ",\"value\":\"" + value + "\",\"why\":\"" + plain(String.valueOf(why)) + "\"");
    }

    void sought(int partition, long offset) {
        write("sought", partition, ",\"offset\":" + offset);
    }

    /** The client read everything up to this end, which the log told it after it was asked to stop. */
    void end(int partition, long offset) {
        write("end", partition, ",\"offset\":" + offset);
    }

    /** Collects what one poll brought from a partition. */
    final class Poll {
        private final int partition;
        private final StringBuilder records = new StringBuilder();

        Poll(int partition) {
            this.partition = partition;
        }

        void add(long offset, String value) {
            String record = "[" + offset + ",\"" + plain(value) + "\"]";
            if (records.length() + record.length() > LONGEST_LINE - 100) {
                flush();
            }
            records.append(records.isEmpty() ? "" : ",").append(record);
        }

        void flush() {
            if (!records.isEmpty()) {
                write("polled", partition, ",\"records\":[" + records + "]");
                records.setLength(0);
            }
        }
    }

    private synchronized void write(String event, int partition, String rest) {
        String line = "{\"event\":\"" + event + "\",\"client\":" + client + ",\"partition\":" + partition + rest + "}\n";
        try {
            out.write(line.getBytes(StandardCharsets.US_ASCII));
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }

    /** Without what JSON would have to escape, and short. */
    private static String plain(String text) {
        String plain = text.replaceAll("[^ !#-\\[\\]-~]", "?");
        return plain.length() > 200 ? plain.substring(0, 200) : plain;
    }
}
