package interop;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.Socket;
import java.nio.charset.StandardCharsets;

/** Where the server under test is reached, and how it is restarted. */
final class Server {
    final String nameServer;
    /** Empty when the server under test does not speak it. */
    final String grpc;
    /** Empty when the server under test does not speak Kafka. */
    final String kafka;
    /** Empty when the server is not the run's to restart. */
    private final String control;

    private Server(String nameServer, String grpc, String kafka, String control) {
        this.nameServer = nameServer;
        this.grpc = grpc;
        this.kafka = kafka;
        this.control = control;
    }

    /** All variables must be there, so that nothing is left out by mistake. */
    static Server fromEnvironment() {
        return new Server(variable("NAMESRV"), variable("GRPC"), variable("BOOTSTRAP"), variable("CONTROL"));
    }

    private static String variable(String name) {
        String value = System.getenv(name);
        Check.that(value != null, name + " is not set");
        return value;
    }

    boolean hasKafka() {
        return !kafka.isEmpty();
    }

    boolean restarts() {
        return !control.isEmpty();
    }

    /** Ends the server with `kill -9` and starts it again on the same data and ports. */
    void killAndStart() throws IOException {
        ask("kill");
    }

    /** Lets the server end in its own way and starts it again on the same data and ports. */
    void stopAndStart() throws IOException {
        ask("stop");
    }

    private void ask(String what) throws IOException {
        int colon = control.lastIndexOf(':');
        try (Socket socket = new Socket(control.substring(0, colon), Integer.parseInt(control.substring(colon + 1)))) {
            socket.getOutputStream().write((what + "\n").getBytes(StandardCharsets.US_ASCII));
            String answer = new BufferedReader(new InputStreamReader(socket.getInputStream(), StandardCharsets.US_ASCII)).readLine();
            Check.equal("ok", answer);
        }
    }
}
