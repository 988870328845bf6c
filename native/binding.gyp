# The addon. Built by `node-gyp -C native configure build`, through the npm script so that node-gyp gets npm's
# settings; never with `rebuild` or `clean`, which would delete native/build and what make has put there.
{
  "targets": [
    {
      "target_name": "fantail",
      "sources": [
        "addon/supervisor.cpp",
        "addon/worker.cpp",
        "shm/arena.cpp",
        "host/interface.cpp",
        "path/loops.cpp",
        "host/namespace.cpp",
        "host/netlink.cpp",
        "host/descriptor_passing.cpp",
        "host/privileges.cpp",
        "path/rx_stage.cpp",
        "host/sockets.cpp",
        "path/soft_link.cpp",
        "path/tx_stage.cpp",
        "xdp/program.cpp",
        "xdp/sockets.cpp",
      ],
      "include_dirs": ["."],
      "defines": ["NODE_ADDON_API_CPP_EXCEPTIONS", "NAPI_VERSION=8"],
      # Others' headers are not held to our warnings.
      "cflags_cc": [
        "-std=c++20",
        "-O2",
        "-g",
        "-fexceptions",
        "-fno-strict-aliasing",
        "-flto",
        "-fvisibility=hidden",
        "-Wall",
        "-Wextra",
        "-Wconversion",
        "-Werror",
        "-isystem<!(node -p \"require('path').dirname(require.resolve('node-addon-api'))\")",
        "-isystem<(node_root_dir)/include/node",
      ],
      "cflags_cc!": ["-fno-exceptions", "-fno-rtti", "-std=gnu++17", "-std=gnu++20", "-O3"],
      "ldflags": ["-flto"],
      "libraries": ["-lmnl", "-lbpf", "-lelf", "-lz", "-lcap-ng"],
    }
  ]
}
