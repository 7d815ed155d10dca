/** A client of the tcp fabric whose TLS is the program `openssl`: another side than ours, that has the key. */
import { once } from "node:events";
import { createServer } from "node:net";
import { until } from "../support/until.ts";
import { type Greeting, RawSocket, greeting } from "./tcp-wire.ts";

export const hasOpenSsl = (): boolean => Bun.which("openssl") !== null;

/** What the shim makes of the secret and the greeting. */
const keyOf = (secret: Uint8Array, said: Uint8Array): string =>
  new Bun.CryptoHasher("sha256")
    .update("rfaas: key of a connection")
    .update(secret)
    .update(said)
    .digest("hex");

type Program = Bun.Subprocess<"pipe", "pipe", "ignore">;

export class OpenSslClient implements Disposable {
  readonly #program: Program;
  readonly #raw: RawSocket;
  #received = Buffer.alloc(0);

  private constructor(program: Program, raw: RawSocket) {
    this.#program = program;
    this.#raw = raw;
    void (async () => {
      for await (const part of program.stdout)
        this.#received = Buffer.concat([this.#received, part]);
    })();
  }

  /** Greets, then leaves the connection to the program, which reaches it through a port of this process. */
  static async open(port: number, how: Greeting, secret: Uint8Array): Promise<OpenSslClient> {
    const raw = await RawSocket.connect(port);
    if ((await raw.greet(how)) !== 0) throw new Error("the greeting is refused");
    const server = createServer({ noDelay: true });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port: here } = server.address() as { port: number };
    const key = keyOf(secret, greeting(how));
    const program = Bun.spawn(
      [
        ...["openssl", "s_client", "-connect", `127.0.0.1:${here}`, "-tls1_3", "-quiet"],
        ...["-no_ign_eof", "-psk", key, "-psk_identity", "rfaas lease"],
        ...["-ciphersuites", "TLS_AES_128_GCM_SHA256"],
      ],
      { stdin: "pipe", stdout: "pipe", stderr: "ignore" },
    );
    const [socket] = (await once(server, "connection")) as [import("node:net").Socket];
    server.close();
    raw.socket.removeAllListeners("data");
    socket.on("error", () => {});
    raw.socket.pipe(socket);
    socket.pipe(raw.socket);
    return new OpenSslClient(program, raw);
  }

  get ended(): boolean {
    return this.#raw.closed || this.#program.exitCode !== null;
  }

  send(bytes: Uint8Array): void {
    void this.#program.stdin.write(bytes);
    void this.#program.stdin.flush();
  }

  async take(bytes: number): Promise<Buffer> {
    await until(() => this.#received.length >= bytes || this.ended, `${bytes} bytes arrive`);
    const taken = this.#received.subarray(0, bytes);
    this.#received = this.#received.subarray(bytes);
    return taken;
  }

  /** And asks the other side to do so. */
  async updateKeys(): Promise<void> {
    const { socket } = this.#raw;
    const before = socket.bytesWritten;
    this.send(Buffer.from("K\n"));
    // What comes with the letter would be dropped.
    await until(() => socket.bytesWritten > before, "it is on its way");
  }

  sayGoodbye(): void {
    this.send(Buffer.from("Q\n"));
  }

  [Symbol.dispose](): void {
    this.#program.kill("SIGKILL");
    this.#raw[Symbol.dispose]();
  }
}
