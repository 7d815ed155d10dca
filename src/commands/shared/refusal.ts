/** How a process that cannot be what it was started as says so to the one that has started it, in the way of its role. */
import type { RfaasError } from "../../base/errors.ts";
import { Connection } from "../../control/connection.ts";
import { watchDescriptor } from "../../control/watch-descriptor.ts";
import { describeError } from "../../package/bundle/fresh-bundle.ts";
import { type ClientMessage, type NodeMessage, clientVocabulary } from "../../protocol/messages.ts";

/** Whether the role has a way to say it; a private node then ends with the connection. */
export async function answerRefused(role: string, error: RfaasError): Promise<boolean> {
  if (role === "__bundle" || role === "__shim") {
    await Bun.write(Bun.stdout, describeError(error));
    return true;
  }
  if (role !== "__node") return false;
  const closed = Promise.withResolvers<void>();
  const connection: Connection<ClientMessage, NodeMessage> = new Connection(clientVocabulary, {
    message() {},
    closed: () => closed.resolve(),
  });
  await watchDescriptor(3, connection.handler());
  connection.send({ t: "refused", code: String(error.code), message: error.message });
  await closed.promise;
  return true;
}
