/** What must not compile. Under each error stands where it begins, and its code. */
import { AllocateOptions, type Invoker } from "rfaas";
//       ^ TS1485
import { defineFunction, Type } from "rfaas/function";

export const options: AllocateOptions = { workers: "two" };
//                                        ^ TS2322
declare const rf: Invoker;
const lease = await rf.allocate<typeof import("./fn.ts")>("./fn.ts");

lease.function("triple");
//             ^ TS2345
lease.function("sum");
//             ^ TS2345
lease.function("hooks");
//             ^ TS2345
const input = lease.input(Uint8Array, 8);
lease.invoke("sun", input, input);
//           ^ TS2345
lease.invoke("double", input, input);
//           ^ TS2345
lease.invoke("sum", [1, 2], input);
//                  ^ TS2345

const double = lease.function("double");
await double("21");
//           ^ TS2345
export const text: string = await double(21);
//           ^ TS2322
double.invoke({ n: 21 });
//            ^ TS2345
await double(21, { deadline: 5 });
//                 ^ TS2561

const price = lease.function("price");
await price({ spot: "1", kind: "put" });
//            ^ TS2322
await price({ spot: 1, kind: "swap" });
//                     ^ TS2322
(await price({ spot: 1, kind: "put" })).price;
//                                      ^ TS2339

const scale = lease.function("scale");
void (scale.input.factor = "2");
//    ^ TS2322
scale.invoke().total;
//             ^ TS2339

export const half = defineFunction({ input: Type.Number(), output: Type.Number() }, (n) => `${n}`);
//                                                                                         ^ TS2769
