from llm_router.cli import main

if __name__ == "__main__":
    main()
