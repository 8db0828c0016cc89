import java.net.HttpURLConnection;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;

/** Sends each request with the JDK's clients as they are by default, and prints status and version of each answer. */
public class JdkClient {
    public static void main(String[] arguments) throws Exception {
        String server = arguments[0];
        String order = "{\"userId\":\"ann\",\"amount\":10,\"items\":{\"apple\":1}}";
        HttpClient client = HttpClient.newHttpClient();  // prefers HTTP/2: sends `Upgrade: h2c`
        for (String publisher : new String[] {"length", "chunked"}) {
            HttpRequest.BodyPublisher body = publisher.equals("length")
                ? BodyPublishers.ofString(order)
                : BodyPublishers.fromPublisher(BodyPublishers.ofString(order));
            HttpRequest request = HttpRequest.newBuilder(URI.create(server + "/orders"))
                .header("Content-Type", "application/json").POST(body).build();
            var answer = client.send(request, BodyHandlers.ofString());
            System.out.println(publisher + " " + answer.statusCode() + " " + answer.version());
        }
        var list = client.send(
            HttpRequest.newBuilder(URI.create(server + "/orders")).build(), BodyHandlers.ofString());
        System.out.println("get " + list.statusCode() + " " + list.version());

        var old = (HttpURLConnection) URI.create(server + "/orders").toURL().openConnection();
        old.setRequestMethod("POST");
        old.setDoOutput(true);
        old.setRequestProperty("Content-Type", "application/json");
        old.getOutputStream().write(order.getBytes(StandardCharsets.UTF_8));
        System.out.println("HttpURLConnection " + old.getResponseCode());
    }
}
