/**
 * An HTTP service whose requests are calls of leased workers.
 *
 *   GET /primes?below=N     how many primes there are below N
 *   POST /summaries         {"samples": [..]}: their mean and deviation; repeated on a lost worker only with an Idempotency-Key
 *   GET /healthz            whether it has a lease, and how many requests it works on
 *
 * A request says in X-Timeout-Ms how long it waits: 10 s if it does not, a minute at most. Environment: HOST (127.0.0.1), PORT
 * (8080), WORKERS (2, as far as the node has cores), MAX_IN_FLIGHT (32), DRAIN_MS (30000); RFAAS_NODE or RFAAS_MANAGER for workers
 * of other machines.
 */
import {
  DeadlineExceeded,
  InvalidValue,
  LeaseLost,
  OutOfLeaseMemory,
  type SubmitOptions,
  WorkerLost,
  invoker,
} from "rfaas";
import { KeptLease } from "./kept-lease.ts";

const { HOST = "127.0.0.1", PORT = "8080", WORKERS = "2" } = process.env;
const { MAX_IN_FLIGHT = "32", DRAIN_MS = "30000" } = process.env;
const DEFAULT_TIMEOUT_MS = 10_000;
const MAX_TIMEOUT_MS = 60_000;
/** How often a call is made, each time on another lease. */
const ATTEMPTS = 3;

type Functions = typeof import("./functions.ts");
type Held = Awaited<ReturnType<typeof take>>;
type Samples = Parameters<Held["summarize"]>[0];

/** Leases workers. Their invoker is new each time, since it may be the node that was lost. */
async function take(signal: AbortSignal) {
  await using opened = new AsyncDisposableStack();
  const rf = opened.use(await invoker({ signal }));
  const lease = opened.use(
    await rf.allocate<Functions>(new URL("./functions.ts", import.meta.url), {
      workers: Math.min(Number(WORKERS), rf.cores),
      nodes: 1,
      wait: true,
      onLog: ({ worker, message, data }) => console.error(`worker ${worker}:`, message, data),
      signal,
    }),
  );
  const countPrimes = lease.function("countPrimes");
  const summarize = lease.function("summarize");
  const all = opened.move();
  return { lease, countPrimes, summarize, [Symbol.asyncDispose]: () => all.disposeAsync() };
}

const kept = new KeptLease(take, (problem) => console.error(problem));
let inFlight = 0;
let stopping = false;

/** Answers a request with what a call comes to, or with why it came to nothing. */
async function answer(
  request: Request,
  call: (held: Held, options: SubmitOptions) => Promise<unknown>,
  { idempotent }: { idempotent: boolean },
): Promise<Response> {
  // Requests that come faster than they can be answered would all wait, and longer and longer.
  if (inFlight >= Number(MAX_IN_FLIGHT))
    return problem(429, `${inFlight} requests are in flight already`, 1);
  inFlight++;
  const timeoutMs = timeoutOf(request);
  const end = performance.now() + timeoutMs;
  const signal = AbortSignal.any([request.signal, AbortSignal.timeout(timeoutMs)]);
  try {
    for (let attempt = 1; ; attempt++)
      try {
        const result = await kept.use((held) => {
          // Of the time, what is left. The worker knows it, too.
          const deadlineMs = Math.max(1, end - performance.now());
          return call(held, { deadlineMs, signal: request.signal });
        }, signal);
        return Response.json(result);
      } catch (error) {
        // A lost lease took no call; a lost worker may have run it.
        const again = error instanceof LeaseLost || (error instanceof WorkerLost && idempotent);
        if (!again || attempt === ATTEMPTS) throw error;
      }
  } catch (error) {
    return failure(error, request);
  } finally {
    inFlight--;
  }
}

function timeoutOf(request: Request): number {
  const asked = Number(request.headers.get("X-Timeout-Ms") ?? DEFAULT_TIMEOUT_MS);
  return asked > 0 ? Math.min(asked, MAX_TIMEOUT_MS) : DEFAULT_TIMEOUT_MS;
}

function failure(error: unknown, request: Request): Response {
  // Only a proxy still reads this.
  if (request.signal.aborted) return problem(499, "the client closed the request");
  if (error instanceof InvalidValue && error.side === "input")
    return problem(422, `${error.path}: ${error.problem}`);
  if (error instanceof OutOfLeaseMemory) return problem(413, "the request is too large");
  if (error instanceof DeadlineExceeded || (error as Error)?.name === "TimeoutError")
    return problem(504, "the deadline has passed");
  if (error instanceof WorkerLost)
    return problem(503, "the worker was lost; the request may have run", 1);
  if (error instanceof LeaseLost) return problem(503, "the lease was lost", 1);
  console.error(error);
  return problem(500, "the request failed");
}

/** An answer that is no result; `retryAfter` seconds. */
function problem(status: number, message: string, retryAfter?: number): Response {
  const headers = retryAfter === undefined ? {} : { "Retry-After": String(retryAfter) };
  return Response.json({ error: message }, { status, headers });
}

const server = Bun.serve({
  hostname: HOST,
  port: Number(PORT),
  // Bun ends a connection on which nothing moves for so long, after ten seconds by default: longer than any deadline.
  idleTimeout: MAX_TIMEOUT_MS / 1000 + 10,
  maxRequestBodySize: 2 ** 20,
  routes: {
    "/healthz": () =>
      Response.json(
        { status: stopping ? "stopping" : kept.up ? "up" : "without a lease", inFlight },
        { status: kept.up && !stopping ? 200 : 503 },
      ),
    "/primes": {
      GET: (request) => {
        const below = Number(new URL(request.url).searchParams.get("below") ?? NaN);
        return answer(request, (held, options) => held.countPrimes({ below }, options), {
          idempotent: true,
        });
      },
    },
    "/summaries": {
      POST: async (request) => {
        // Whatever it is, the function's schema is what checks it.
        const value = (await request.json().catch(() => undefined)) as Samples;
        return answer(request, (held, options) => held.summarize(value, options), {
          idempotent: request.headers.has("Idempotency-Key"),
        });
      },
    },
  },
  fetch: () => problem(404, "there is GET /primes, POST /summaries and GET /healthz"),
});
console.log(`listening at ${server.url}`);

/** Answers what it has begun, takes nothing more, and gives the workers back. */
async function stop(name: string): Promise<void> {
  if (stopping) return;
  stopping = true;
  console.error(`${name}: ${inFlight} requests in flight`);
  const overdue = setTimeout(() => void server.stop(true), Number(DRAIN_MS));
  await server.stop();
  clearTimeout(overdue);
  await kept[Symbol.asyncDispose]();
}
for (const name of ["SIGTERM", "SIGINT"] as const) process.on(name, () => void stop(name));
