/**
 * Gives Node 20 the `Promise.withResolvers` that libp2p 3 calls (ECMAScript 2024). Imported first,
 * for its effect alone, by every entry point and worker that loads libp2p.
 */
if (!Reflect.has(Promise, 'withResolvers')) {
  Object.defineProperty(Promise, 'withResolvers', {
    configurable: true,
    writable: true,
    value: function withResolvers(this: PromiseConstructor) {
      let resolve: ((value: unknown) => void) | undefined
      let reject: ((reason?: unknown) => void) | undefined
      const promise = new this<unknown>((onResolve, onReject) => {
        resolve = onResolve
        reject = onReject
      })
      return { promise, resolve, reject }
    },
  })
}

export {}
