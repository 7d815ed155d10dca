/**
 * The agent's thread for packages: it hashes, links, reads and removes files, by thousands where it must be, while the agent answers
 * its clients. It has the cache as one of the nodes that share the folder.
 */
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { RfaasError } from "../../base/errors.ts";
import type { IncomingPackage } from "./incoming.ts";
import { PackageCache } from "./cache.ts";
import type { FoundPackage } from "./known.ts";
import type {
  PackageAnswer,
  PackageOrder,
  PackageOrderName,
  PackageOrders,
  PackageThreadData,
} from "./orders.ts";

const port = parentPort as MessagePort;
let held: ReadonlySet<string> = new Set();
const cache = new PackageCache({
  ...(workerData as PackageThreadData).cache,
  isHeld: (hash) => held.has(hash),
});
const uploads = new Map<number, { hash: string; incoming: IncomingPackage }>();
let nextUpload = 1;

type Answers = {
  [Name in PackageOrderName]: (
    order: PackageOrders[Name][0],
  ) => PackageOrders[Name][1] | Promise<PackageOrders[Name][1]>;
};

const answers: Answers = {
  find: ({ hash }) => find(hash),
  async receive({ hash, manifest, held: now, from }) {
    held = new Set(now);
    const incoming = await cache.receive(hash, manifest, from);
    const upload = nextUpload++;
    uploads.set(upload, { hash, incoming });
    return { upload, name: incoming.manifest.name, missing: incoming.missing };
  },
  async write({ upload, bytes }) {
    const { incoming } = uploadOf(upload);
    await incoming.write(bytes);
    return { storedBytes: incoming.storedBytes, complete: incoming.complete };
  },
  finish({ upload }) {
    const { hash, incoming } = uploadOf(upload);
    incoming.finish();
    uploads.delete(upload);
    const found = find(hash);
    if (!found) throw new Error("another node has removed it");
    return found;
  },
  abandon({ upload }) {
    uploads.get(upload)?.incoming.abandon();
    uploads.delete(upload);
    return null;
  },
  check: ({ hash, user }) => cache.isSafeFor(hash, user),
  list: () => cache.list().map(({ leases: _, ...stored }) => stored),
  remove({ hash, held: now }) {
    held = new Set(now);
    return cache.remove(hash);
  },
};

port.on("message", (order: PackageOrder<PackageOrderName>) => void carryOut(order));

async function carryOut<Name extends PackageOrderName>({ id, name, order }: PackageOrder<Name>) {
  let answer: PackageAnswer;
  try {
    answer = { id, result: await answers[name](order) };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    answer = { id, failure: { isOurs: error instanceof RfaasError, code, message } };
  }
  port.postMessage(answer);
}

function find(hash: string): FoundPackage | null {
  return cache.find(hash) ?? null;
}

function uploadOf(upload: number): { hash: string; incoming: IncomingPackage } {
  const found = uploads.get(upload);
  if (!found) throw new Error("the upload is over");
  return found;
}
