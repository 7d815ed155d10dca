/**
 * What is said in clear, for it stays on the machine: not to another one to which the resolver sends `localhost`, and no token to a program
 * that has the port where a manager usually is.
 */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { RFAAS } from "../support/executable.ts";
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

const NETWORK = ["unshare", "--net", "--map-root-user"];
const canNetwork =
  Bun.which("ip") !== null && Bun.spawnSync([...NETWORK, "ip", "link", "set", "lo", "up"]).success;
if (!canNetwork) console.warn("skipped, needs ip and a network of its own: doctor and a token");

test.skipIf(!canNetwork)(
  "the doctor shows its user's token to no manager that is not named",
  async () => {
    const program = `
    let heard = "";
    Bun.listen({ hostname: "127.0.0.1", port: 7800, socket: { data: (_, bytes) => void (heard += bytes.toString("latin1")) } });
    const doctor = (env) => Bun.spawn([${JSON.stringify(RFAAS)}, "doctor", "--json"], {
      env: { ...process.env, RFAAS_TOKEN: "my-token", RFAAS_MANAGER: "", RFAAS_NODE: "", ...env },
      stdout: "ignore", stderr: "ignore",
    }).exited;
    const said = async (env) => {
      heard = "";
      await doctor(env);
      return [heard.includes("subscribe"), heard.includes("my-token")];
    };
    console.log(JSON.stringify([await said({}), await said({ RFAAS_MANAGER: "127.0.0.1:7800" })]));
    process.exit();`;
    const within = [...NETWORK, "sh", "-c", 'ip link set lo up && exec "$@"', "-"];
    const child = Bun.spawn([...within, process.execPath, "-e", program], { stderr: "inherit" });
    expect(JSON.parse(await child.stdout.text())).toEqual([
      [true, false],
      [true, true],
    ]);
  },
);
