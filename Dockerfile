# The worker, and the command line. Debian, for Temporal's core needs glibc.
FROM node:22-bookworm AS build
WORKDIR /app
COPY package.json package-lock.json ./
# Without the project's own `prepare`, which needs its sources.
RUN npm ci --ignore-scripts
COPY tsconfig.json ./
COPY src ./src
COPY test ./test
COPY bench ./bench
# ZooKeeper's C client is compiled: the image has compilers, make and Python.
RUN npm rebuild zookeeper --foreground-scripts && npm run build
# The embedded ClickHouse engine stays behind.
RUN npm prune --omit=dev --ignore-scripts && rm -rf dist/test dist/bench dist/.tsbuildinfo && chmod +x dist/src/cli.js

FROM node:22-bookworm-slim
ENV NODE_ENV=production
COPY --from=build /app/package.json /app/package.json
COPY --from=build /app/node_modules /app/node_modules
COPY --from=build /app/dist /app/dist
RUN ln -s /app/dist/src/cli.js /usr/local/bin/ch-zk-migrate && mkdir -p /srv/status && chown -R node:node /srv
USER node
WORKDIR /srv
ENTRYPOINT ["ch-zk-migrate"]
CMD ["worker"]
