/** What happens to the processes of a run. Each fault picks whom it meets, and leaves it as one who runs. */
import { FROZEN_MS } from "./history.ts";
import { signalTo } from "./machine/actor.ts";
import {
  type FaultRun,
  END_LIMIT_MS,
  pause,
  onNode,
  restartNode,
  restartManager,
  onManager,
  onEtcd,
  untilStarted,
  TAKE_OVER_MS,
  endsAndRestarts,
  SIGNALS,
  hostOf,
  client,
  stopped,
  starved,
} from "./steps.ts";

const RESUME_TRIES = 100;

export const FAULTS: Readonly<Record<string, readonly [weight: number, run: FaultRun]>> = {
  "kill host": [
    12,
    (context) =>
      onNode(context, async (node) => {
        const host = hostOf(node, context.random);
        if (host === undefined) return;
        context.note("kill host", node.name, `pid ${host}`);
        signalTo(host, "SIGKILL");
      }),
  ],
  "stop host": [
    8,
    (context) =>
      onNode(context, async (node) => {
        const host = hostOf(node, context.random);
        if (host === undefined) return;
        context.note("stop host", node.name, `pid ${host}`);
        await stopped([host], context.random);
      }),
  ],
  "signal host": [
    6,
    (context) =>
      onNode(context, async (node) => {
        const [host, signal] = [hostOf(node, context.random), context.random.pick(SIGNALS)];
        if (host === undefined) return;
        context.note("signal host", node.name, `${signal} to ${host}`);
        signalTo(host, signal);
      }),
  ],
  "kill node": [
    6,
    (context) =>
      onNode(context, async (node, i) => {
        context.note("kill node", node.name);
        await node.kill();
        await restartNode(context, i);
      }),
  ],
  "stop node": [
    5,
    (context) =>
      onNode(context, async (node) => {
        context.note("stop node", node.name);
        await stopped(context.random.chance(0.5) ? node.processes : [node.pid], context.random);
      }),
  ],
  "end node": [
    3,
    (context) =>
      onNode(context, async (node, i) => {
        const signal = context.random.pick(["SIGTERM", "SIGINT"] as const);
        context.note("end node", node.name, signal);
        node.expectEnd();
        node.signal(signal);
        if (context.random.chance(0.3)) {
          await pause(context.random);
          node.signal(signal);
        }
        await endsAndRestarts(context, node, i);
      }),
  ],
  "signal node's group": [
    3,
    (context) =>
      onNode(context, async (node, i) => {
        context.note("signal node's group", node.name);
        node.expectEnd();
        if (context.random.chance(0.5)) node.signalGroup("SIGTERM");
        else node.signalEach("SIGTERM");
        await endsAndRestarts(context, node, i);
      }),
  ],
  "hang up": [
    3,
    async (context) => {
      const { cluster, random } = context;
      const actor = random.pick([...cluster.managers, ...cluster.nodes]);
      await context.alone(actor.name, async () => {
        context.note("hang up", actor.name);
        actor.signalEach("SIGHUP");
      });
    },
  ],
  "kill manager": [
    4,
    (context) =>
      onManager(context, async (manager, i, leads) => {
        context.note("kill manager", manager.name, leads);
        await manager.kill();
        await restartManager(context, i);
      }),
  ],
  "end manager": [
    2,
    (context) =>
      onManager(context, async (manager, i, leads) => {
        context.note("end manager", manager.name, leads);
        if (!(await manager.end("SIGTERM", END_LIMIT_MS))) {
          context.cluster.journal.say({
            ...{ e: "stuck", who: manager.name, what: "did not end when told to" },
          });
          await manager.kill();
        }
        await restartManager(context, i);
      }),
  ],
  "stop manager": [
    3,
    (context) =>
      onManager(context, async (manager, _, leads) => {
        context.note("stop manager", manager.name, leads);
        const mostMs = context.cluster.etcd ? 2 * TAKE_OVER_MS : undefined;
        await stopped([manager.pid], context.random, mostMs);
      }),
  ],
  "kill etcd": [
    2,
    (context) =>
      onEtcd(context, async (etcd) => {
        context.note("kill etcd", etcd.name);
        await etcd.kill();
        await pause(context.random);
        await untilStarted(etcd, () => context.cluster.startEtcd());
      }),
  ],
  "stop etcd": [
    2,
    (context) =>
      onEtcd(context, async (etcd) => {
        context.note("stop etcd", etcd.name);
        await stopped([etcd.pid], context.random, TAKE_OVER_MS);
      }),
  ],
  "kill client": [
    6,
    async (context) => {
      const actor = client(context);
      if (actor === undefined) return;
      await context.alone(actor.name, async () => {
        context.note("kill client", actor.name);
        await actor.kill();
      });
    },
  ],
  "stop client": [
    6,
    async (context) => {
      const actor = client(context);
      if (actor === undefined) return;
      await context.alone(actor.name, async () => {
        context.note("stop client", actor.name);
        await stopped([actor.pid], context.random);
      });
    },
  ],
  "end client": [
    3,
    async (context) => {
      const actor = client(context);
      if (actor === undefined) return;
      await context.alone(actor.name, async () => {
        const signal = context.random.pick(SIGNALS);
        context.note("end client", actor.name, signal);
        actor.expectEnd();
        actor.signalGroup(signal);
        await actor.endsWithin(END_LIMIT_MS);
      });
    },
  ],
  partition: [
    5,
    async (context) => {
      const { cluster, random } = context;
      const i = random.between(cluster.nodesAtHome, cluster.nodes.length - 1);
      const cable = `cable of n${i}`;
      await context.alone(cable, async () => {
        context.note("partition", cable);
        cluster.networks.cut(i - cluster.nodesAtHome);
        await Bun.sleep(random.between(100, 8000));
        cluster.networks.mend(i - cluster.nodesAtHome);
      });
    },
  ],
  "full disk": [
    3,
    async (context) => {
      const { cluster, random } = context;
      const [name, disk] = random.pick(Object.entries(cluster.disks));
      await context.alone(`disk of ${name}`, async () => {
        context.note("full disk", `disk of ${name}`);
        disk.fill();
        await Bun.sleep(random.between(100, 4000));
        disk.empty();
        cluster.journal.say({ e: "fault", fault: "disk has room", target: `disk of ${name}` });
      });
    },
  ],
  "frozen disk": [
    3,
    async (context) => {
      const { cluster, random } = context;
      const [name, disk] = random.pick(Object.entries(cluster.disks));
      if (!disk.freezes) return;
      // A process that waits for its disk cannot be killed.
      await context.alone(name, () =>
        context.alone(`disk of ${name}`, async () => {
          context.note("frozen disk", `disk of ${name}`);
          disk.freeze();
          await Bun.sleep(random.between(50, FROZEN_MS));
          disk.thaw();
        }),
      );
    },
  ],
  "no descriptors": [
    3,
    async (context) => {
      const { cluster, random } = context;
      const actor = random.pick([...cluster.managers, ...cluster.nodes, ...cluster.clients]);
      await context.alone(actor.name, async () => {
        if (!actor.running) return;
        context.note("no descriptors", actor.name);
        await starved(actor.pid, random).catch(() => {});
      });
    },
  ],
  drain: [
    4,
    (context) =>
      onNode(context, async (node) => {
        const { cluster, random, version } = context;
        const deadline = random.pick(["0.2s", "1s", "3s"]);
        const name = version("client");
        const refused = await cluster.operate(name, ["drain", node.name, "--deadline", deadline]);
        context.note("drain", node.name, refused ?? deadline);
        await Bun.sleep(random.between(100, 3000));
        // A manager that is away is asked again; of two, none leads as long as the etcd is away, and a while after each death.
        for (let tries = 0; tries < RESUME_TRIES; tries++) {
          const failed = await cluster.operate(name, ["resume", node.name]);
          if (failed === undefined) return context.note("resume", node.name);
          await Bun.sleep(500);
        }
        cluster.journal.say({ e: "stuck", who: node.name, what: "could not be resumed" });
      }),
  ],
};

/** What takes a machine of the run's own. */
export const MACHINE_FAULTS: typeof FAULTS = {
  "slow cable": [
    6,
    async ({ cluster, random, alone, note }) => {
      const i = random.between(cluster.nodesAtHome, cluster.nodes.length - 1);
      const cable = `cable of n${i}`;
      await alone(`delay on the ${cable}`, async () => {
        const [delayMs, jitterMs] = [random.between(5, 300), random.between(1, 50)];
        note("slow cable", cable, `${delayMs} ms, more or less ${jitterMs}`);
        cluster.networks.slow(i - cluster.nodesAtHome, delayMs, jitterMs);
        await Bun.sleep(random.between(500, 5000));
        cluster.networks.hasten(i - cluster.nodesAtHome);
      });
    },
  ],
  "clock jumps": [
    6,
    async ({ random, alone, note }) => {
      await alone("clock", async () => {
        const jumpMs = random.pick([-1, 1]) * random.between(60_000, MOST_JUMP_MS);
        note("clock jumps", "clock", `by ${Math.round(jumpMs / 60_000)} minutes`);
        setClock(jumpMs);
        await Bun.sleep(random.between(100, 4000));
        note("clock jumps", "clock", "back");
        setClock(-jumpMs);
      });
    },
  ],
};

const MOST_JUMP_MS = 6 * 3_600_000;

function setClock(byMs: number): void {
  const at = ((Date.now() + byMs) / 1000).toFixed(3);
  const { success, stderr } = Bun.spawnSync(["date", "-s", `@${at}`]);
  if (!success) throw new Error(`the clock cannot be set: ${stderr.toString()}`);
}
