/** A machine whose resolver sends `localhost` elsewhere: what is said in clear, for it stays on the machine, is not said there. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { ownAddress } from "../support/own-address.ts";
import { Scratch } from "../support/scratch.ts";

const OTHER = ownAddress();
const UNSHARE = ["unshare", "--mount", "--map-root-user"];
const canUnshare = Bun.spawnSync([...UNSHARE, "true"]).success;
if (OTHER === undefined || !canUnshare)
  console.warn("skipped, needs a network and mounts of its own: localhost that leads elsewhere");
const DIAL = join(import.meta.dir, "../../src/control/dial.ts");

test.skipIf(OTHER === undefined || !canUnshare)(
  "a client that is told localhost says nothing to another machine in clear",
  async () => {
    using scratch = new Scratch();
    const hosts = scratch.file("hosts", `${OTHER} localhost\n`);
    let heard = "";
    using server = Bun.listen({
      ...{ hostname: OTHER!, port: 0 },
      socket: { data: (_, bytes) => void (heard += bytes.toString()) },
    });
    const program = `
      import { dial } from ${JSON.stringify(DIAL)};
      const events = { opened: (wire) => wire.write(Buffer.from("a token")), received() {}, drained() {}, close() {} };
      const dialling = dial({ kind: "tcp", host: "localhost", port: ${server.port} }, events);
      await dialling.connected.then(() => console.log(dialling.acquaintance().by), ({ code, message }) => console.log(code, message));
      dialling.abort();`;
    const script = `mount --bind ${hosts} /etc/hosts && exec "$@"`;
    const within = [...UNSHARE, "sh", "-c", script, "-"];
    const child = Bun.spawn([...within, process.execPath, "-e", program], { stderr: "inherit" });
    const said = await child.stdout.text();
    expect(said).toStartWith(
      `RFAAS_PEER_NOT_TRUSTED localhost leads to ${OTHER} here, another machine`,
    );
    expect(heard).toBe("");
  },
);
