/** What a host hears of its agent, and does: it takes a lease, and later ones where it is kept. */
import type { Mailbox } from "../../../ffi/descriptors.ts";
import { becomeUser } from "../../../ffi/sandbox.ts";
import { Connection, type Hearing } from "../../control/connection.ts";
import { type Handlers, answeringTo } from "../../control/requests.ts";
import type { Request } from "../../protocol/declare.ts";
import { JSON_TEXT } from "../../protocol/frames/json-text.ts";
import type { AgentMessage, HostMessage, agentMessages } from "../../protocol/host-messages.ts";
import type { Thread } from "./host-thread.ts";
import { HostedLease } from "./hosted-lease.ts";
import { type LeaseEnd, takeParts } from "./lease-parts.ts";
import type { Seal } from "./seal.ts";

export type AgentLink = Connection<AgentMessage, HostMessage>;

/** Its agent is of the same version, and says only what its types allow: no schema is loaded to check it. */
const fromAgent: Hearing<AgentMessage> = {
  packing: JSON_TEXT,
  parse: (message) => message as AgentMessage,
};
type Asked = Extract<(typeof agentMessages)[number], Request>["name"];
const ASKED = { attach: true, reload: true, rest: true } satisfies Record<Asked, true>;

/**
 * A connection whose messages reach threads that wait for a lease. Its socket is still to be opened. When it ends, the agent is dead, or kills
 * this process: what is to be done then, `closed` does.
 */
export function linkToAgent(
  prewarmed: readonly Thread[],
  mailbox: Mailbox,
  end: LeaseEnd,
  seal?: Seal,
  closed: () => void = () => {},
): AgentLink {
  let taking: Promise<HostedLease> | undefined;
  let lease: HostedLease | undefined;
  const handlers: Handlers<typeof agentMessages> = {
    become: ({ uid, tasks }) => becomeUser(uid, tasks),
    attach: (attach, _, answer) => {
      const parts = takeParts(attach, mailbox, prewarmed, seal);
      taking = HostedLease.take(agent, attach, parts, end);
      void taking.then((taken) => {
        lease = taken;
        return taken.serve(answer);
      });
    },
    reload: ({ module, moduleName }, _, answer) =>
      void taking?.then((taken) => taken.reload(module, moduleName, answer)),
    rest: ({ nonce }, _, answer) => lease?.rest(nonce, answer),
    detach: () => {
      if (lease) lease.stop();
      else process.exit(0);
    },
    "ends-in": ({ leftMs }) => void lease?.endsIn(leftMs),
    brought: ({ greeting }) => lease?.brought(Uint8Array.fromHex(greeting)),
    "host-abort": ({ worker, slot, sequence, gently }) =>
      lease?.abort(worker, slot, sequence, gently),
  };
  const heard = answeringTo<typeof agentMessages>(new Set(Object.keys(ASKED)), handlers, {
    // Answers are what a host says.
    send: (answer) => agent.send(answer as HostMessage),
  });
  const agent: AgentLink = new Connection(fromAgent, {
    message: (message) => heard(message),
    closed,
  });
  return agent;
}
